//! Charter entries as bytes: what [`entry`](super::entry) describes, written and read.
//!
//! Always: reading looks at one payload alone and accepts one spelling of it. The layout is written down in
//! `docs/format.md`, section "Charter entries".

use polykey_core::Timestamp;
use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::id::{ActorId, KeyRecordId, NodeId, ObjectId, StatementId, VaultId};
use polykey_core::rotation::Rotation;
use polykey_core::sealing::EncryptionPublic;
use polykey_core::statement::MAX_PAYLOAD_LEN;

use super::entry::{
    Body, Bundle, CutOff, DeviceKey, Draft, EntryError, EpochBox, MAX_BUNDLE_LEN, MAX_CUT_OFFS, MAX_HEADS,
    MAX_MEMBERS, MAX_NOTE_LEN, MAX_PURGED, MAX_UPDATES, MemberKeys, Place, SHARE_LEN, Sealed, Share,
};
use super::role::Role;

/// All that a payload says.
pub(super) struct Decoded {
    pub(super) author: NodeId,
    pub(super) place: Option<Place>,
    pub(super) time: Timestamp,
    pub(super) body: Body,
    pub(super) sealed: Sealed,
}

/// The payload of an entry by `author`.
pub(super) fn encode(author: NodeId, draft: &Draft) -> Vec<u8> {
    let mut w = Writer::new();
    w.map(7).u64(0).u64(draft.body.kind()).u64(1);
    match &draft.place {
        Some(place) => w.bytes(place.vault.as_bytes()),
        None => w.null(),
    };
    w.u64(2).bytes(author.as_bytes()).u64(3);
    match &draft.place {
        Some(place) => w.bytes(place.under.as_bytes()),
        None => w.null(),
    };
    let parents = draft.place.as_ref().map_or(&[][..], |place| &place.parents);
    w.u64(4).array(parents.len());
    for parent in parents {
        w.bytes(parent.as_bytes());
    }
    w.u64(5).u64(draft.time.as_millis()).u64(6);
    encode_body(&mut w, &draft.body, &draft.sealed);
    w.finish()
}

fn encode_body(w: &mut Writer, body: &Body, sealed: &Sealed) {
    match body {
        Body::Genesis { nonce, keys } => {
            w.map(3).u64(0).bytes(nonce).u64(1);
            encode_keys(w, Some(keys));
            w.u64(2);
            encode_sealed(w, sealed);
        }
        Body::Grant { node, role, keys } => {
            w.map(4).u64(0).bytes(node.as_bytes()).u64(1).u64(role.number());
            w.u64(2);
            encode_keys(w, keys.as_ref());
            w.u64(3);
            encode_sealed(w, sealed);
        }
        Body::Revoke { node, cut_offs } => {
            w.map(3).u64(0).bytes(node.as_bytes()).u64(1);
            encode_cut_offs(w, cut_offs);
            w.u64(2);
            encode_sealed(w, sealed);
        }
        Body::Succeed {
            rotation,
            keys,
            cut_offs,
        } => {
            w.map(4).u64(0).bytes(rotation.as_bytes()).u64(1);
            encode_keys(w, keys.as_ref());
            w.u64(2);
            encode_cut_offs(w, cut_offs);
            w.u64(3);
            encode_sealed(w, sealed);
        }
        Body::Purge { objects, now, note } => {
            w.map(3).u64(0).array(objects.len());
            for object in objects {
                w.bytes(object.as_bytes());
            }
            w.u64(1).bool(*now).u64(2).bytes(note);
        }
        Body::Rekey { devices } => {
            w.map(2).u64(0).array(devices.len());
            for (node, device) in devices {
                w.array(2).bytes(node.as_bytes());
                encode_device(w, device);
            }
            w.u64(1);
            encode_sealed(w, sealed);
        }
    }
}

fn encode_keys(w: &mut Writer, keys: Option<&MemberKeys>) {
    let Some(keys) = keys else {
        w.null();
        return;
    };
    w.array(3)
        .bytes(keys.recovery.as_bytes())
        .bytes(keys.code.as_bytes());
    encode_device(w, &keys.device);
}

fn encode_device(w: &mut Writer, device: &DeviceKey) {
    w.array(3)
        .bytes(device.record.as_bytes())
        .u64(device.number)
        .bytes(device.public.as_bytes());
}

fn encode_cut_offs(w: &mut Writer, cut_offs: &[CutOff]) {
    w.array(cut_offs.len());
    for cut in cut_offs {
        w.array(3)
            .bytes(cut.actor.as_bytes())
            .u64(cut.seq)
            .bytes(cut.commit.as_bytes());
    }
}

fn encode_sealed(w: &mut Writer, sealed: &Sealed) {
    match sealed {
        Sealed::Nothing => {
            w.null();
        }
        Sealed::Epoch(epoch) => {
            w.array(3).bytes(&epoch.commitment).array(epoch.shares.len());
            for share in &epoch.shares {
                w.array(4)
                    .bytes(share.node.as_bytes())
                    .u64(share.number)
                    .bytes(&share.device)
                    .bytes(&share.code);
            }
            w.bytes(&epoch.wrapped);
        }
        Sealed::Bundle(bundle) => {
            w.array(2).bytes(&bundle.device).bytes(&bundle.code);
        }
    }
}

/// Reads one payload; holds the author for the errors.
struct Decoder<'b> {
    r: Reader<'b>,
    author: NodeId,
}

/// Reads a payload.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn decode(payload: &[u8]) -> Result<Decoded, EntryError> {
    let mut r = Reader::new(payload, MAX_PAYLOAD_LEN, "a charter entry")?;
    r.map_of(7)?;
    r.key(0)?;
    let kind = r.u64()?;
    r.key(1)?;
    let vault = match r.null()? {
        true => None,
        false => Some(VaultId::from_bytes(r.bytes_of()?)),
    };
    r.key(2)?;
    let author = NodeId::from_bytes(r.bytes_of()?);
    let mut d = Decoder { r, author };
    d.r.key(3)?;
    let under = match d.r.null()? {
        true => None,
        false => Some(StatementId::from_bytes(d.r.bytes_of()?)),
    };
    d.r.key(4)?;
    let parents = d.sorted("parents", MAX_HEADS, |d| {
        Ok(StatementId::from_bytes(d.r.bytes_of()?))
    })?;
    let place = match (vault, under) {
        (None, None) if parents.is_empty() && kind == 0 => None,
        (Some(vault), Some(under)) if !parents.is_empty() && kind != 0 => Some(Place {
            vault,
            under,
            parents,
        }),
        _ => return Err(d.contradiction("only genesis stands at the start")),
    };
    d.r.key(5)?;
    let time = Timestamp::from_millis(d.r.u64()?);
    d.r.key(6)?;
    let (body, sealed) = d.body(kind)?;
    d.r.finish()?;
    Ok(Decoded {
        author,
        place,
        time,
        body,
        sealed,
    })
}

impl Decoder<'_> {
    fn contradiction(&self, what: &'static str) -> EntryError {
        EntryError::Contradiction {
            author: self.author,
            what,
        }
    }

    /// A list in strictly ascending order.
    fn sorted<T: Ord>(
        &mut self,
        what: &'static str,
        limit: usize,
        read: impl Fn(&mut Self) -> Result<T, EntryError>,
    ) -> Result<Vec<T>, EntryError> {
        let list = self.list(what, limit, read)?;
        self.in_order(what, limit, list.is_sorted_by(|a, b| a < b))?;
        Ok(list)
    }

    fn list<T>(
        &mut self,
        what: &'static str,
        limit: usize,
        read: impl Fn(&mut Self) -> Result<T, EntryError>,
    ) -> Result<Vec<T>, EntryError> {
        let len = self.r.array()?;
        self.in_order(what, limit, len <= limit)?;
        (0..len).map(|_| read(self)).collect()
    }

    fn in_order(&self, what: &'static str, limit: usize, holds: bool) -> Result<(), EntryError> {
        let author = self.author;
        if holds {
            Ok(())
        } else {
            Err(EntryError::List { author, what, limit })
        }
    }

    fn node(&mut self) -> Result<NodeId, EntryError> {
        Ok(NodeId::from_bytes(self.r.bytes_of()?))
    }

    fn bytes(&mut self, limit: usize) -> Result<Vec<u8>, EntryError> {
        let bytes = self.r.bytes()?;
        if bytes.len() > limit {
            return Err(CodecError::TooLong { limit }.into());
        }
        Ok(bytes.to_vec())
    }

    fn public(&mut self) -> Result<EncryptionPublic, EntryError> {
        let author = self.author;
        EncryptionPublic::from_bytes(self.r.bytes()?).map_err(|_| EntryError::PublicKey { author })
    }

    fn device(&mut self) -> Result<DeviceKey, EntryError> {
        self.r.array_of(3)?;
        Ok(DeviceKey {
            record: KeyRecordId::from_bytes(self.r.bytes_of()?),
            number: self.r.u64()?,
            public: self.public()?,
        })
    }

    fn keys(&mut self) -> Result<Option<MemberKeys>, EntryError> {
        if self.r.null()? {
            return Ok(None);
        }
        self.r.array_of(3)?;
        Ok(Some(MemberKeys {
            recovery: self.node()?,
            code: self.public()?,
            device: self.device()?,
        }))
    }

    fn cut_offs(&mut self) -> Result<Vec<CutOff>, EntryError> {
        let list = self.list("cut-offs", MAX_CUT_OFFS, |d| {
            d.r.array_of(3)?;
            Ok(CutOff {
                actor: ActorId::from_bytes(d.r.bytes_of()?),
                seq: d.r.u64()?,
                commit: StatementId::from_bytes(d.r.bytes_of()?),
            })
        })?;
        let sorted = list.is_sorted_by(|a, b| a.actor < b.actor);
        self.in_order("cut-offs", MAX_CUT_OFFS, sorted)?;
        if list.iter().any(|cut| cut.seq == 0) {
            return Err(self.contradiction("a line is accepted up to commit 0"));
        }
        Ok(list)
    }

    fn epoch(&mut self) -> Result<EpochBox, EntryError> {
        self.r.array_of(3)?;
        let commitment = self.r.bytes_of()?;
        let shares = self.list("members", MAX_MEMBERS, |d| {
            d.r.array_of(4)?;
            let share = Share {
                node: d.node()?,
                number: d.r.u64()?,
                device: d.bytes(SHARE_LEN)?,
                code: d.bytes(SHARE_LEN)?,
            };
            if share.device.len() != SHARE_LEN || share.code.len() != SHARE_LEN {
                return Err(d.contradiction("a sealed key of another length"));
            }
            Ok(share)
        })?;
        let sorted = shares.is_sorted_by(|a, b| a.node < b.node);
        self.in_order("members", MAX_MEMBERS, sorted)?;
        let wrapped = self.bytes(MAX_BUNDLE_LEN)?;
        Ok(EpochBox {
            commitment,
            shares,
            wrapped,
        })
    }

    /// The keys for a new member: there for whoever reads, absent for a keeper.
    fn bundle(&mut self, keys: Option<&MemberKeys>) -> Result<Sealed, EntryError> {
        if self.r.null()? {
            return match keys {
                None => Ok(Sealed::Nothing),
                Some(_) => Err(self.contradiction("a member that reads is given no keys")),
            };
        }
        if keys.is_none() {
            return Err(self.contradiction("a keeper is given keys"));
        }
        self.r.array_of(2)?;
        let device = self.bytes(MAX_BUNDLE_LEN)?;
        let code = self.bytes(MAX_BUNDLE_LEN)?;
        Ok(Sealed::Bundle(Bundle { device, code }))
    }

    fn body(&mut self, kind: u64) -> Result<(Body, Sealed), EntryError> {
        match kind {
            0 => self.genesis(),
            1 => self.grant(),
            2 => self.revoke(),
            3 => self.succeed(),
            4 => self.purge(),
            5 => self.rekey(),
            other => Err(EntryError::Kind(other)),
        }
    }

    fn genesis(&mut self) -> Result<(Body, Sealed), EntryError> {
        self.r.map_of(3)?;
        self.r.key(0)?;
        let nonce = self.r.bytes_of()?;
        self.r.key(1)?;
        let keys = self.keys()?;
        let keys = keys.ok_or_else(|| self.contradiction("the creator has no keys"))?;
        if keys.recovery == self.author {
            return Err(self.contradiction("the creator is its own recovery key"));
        }
        self.r.key(2)?;
        let epoch = self.epoch()?;
        if !epoch.wrapped.is_empty() {
            return Err(self.contradiction("the first epoch has none before it"));
        }
        Ok((Body::Genesis { nonce, keys }, Sealed::Epoch(epoch)))
    }

    fn grant(&mut self) -> Result<(Body, Sealed), EntryError> {
        self.r.map_of(4)?;
        self.r.key(0)?;
        let node = self.node()?;
        self.r.key(1)?;
        let role = Role::from_number(self.r.u64()?).ok_or(self.r.shape())?;
        self.r.key(2)?;
        let keys = self.keys()?;
        if role.reads() != keys.is_some() {
            return Err(self.contradiction("the role and the keys do not fit"));
        }
        self.r.key(3)?;
        let sealed = self.bundle(keys.as_ref())?;
        Ok((Body::Grant { node, role, keys }, sealed))
    }

    fn revoke(&mut self) -> Result<(Body, Sealed), EntryError> {
        self.r.map_of(3)?;
        self.r.key(0)?;
        let node = self.node()?;
        self.r.key(1)?;
        let cut_offs = self.cut_offs()?;
        self.r.key(2)?;
        let sealed = match self.r.null()? {
            true => Sealed::Nothing,
            false => Sealed::Epoch(self.epoch()?),
        };
        if (node == self.author) != (sealed == Sealed::Nothing) {
            return Err(self.contradiction("every removal but one's own opens an epoch"));
        }
        Ok((Body::Revoke { node, cut_offs }, sealed))
    }

    fn succeed(&mut self) -> Result<(Body, Sealed), EntryError> {
        let author = self.author;
        self.r.map_of(4)?;
        self.r.key(0)?;
        let rotation = Rotation::verify(self.r.bytes()?.to_vec())
            .map_err(|source| EntryError::Rotation { author, source })?;
        if rotation.node() != author {
            return Err(self.contradiction("the rotate claim is another node's"));
        }
        self.r.key(1)?;
        let keys = self.keys()?;
        if keys
            .as_ref()
            .is_some_and(|keys| keys.recovery != rotation.successor_recovery())
        {
            return Err(self.contradiction("the claim names another recovery key"));
        }
        self.r.key(2)?;
        let cut_offs = self.cut_offs()?;
        self.r.key(3)?;
        let sealed = self.bundle(keys.as_ref())?;
        let body = Body::Succeed {
            rotation: Box::new(rotation),
            keys,
            cut_offs,
        };
        Ok((body, sealed))
    }

    fn purge(&mut self) -> Result<(Body, Sealed), EntryError> {
        self.r.map_of(3)?;
        self.r.key(0)?;
        let objects = self.sorted("objects", MAX_PURGED, |d| {
            Ok(ObjectId::from_bytes(d.r.bytes_of()?))
        })?;
        self.r.key(1)?;
        let now = self.r.bool()?;
        self.r.key(2)?;
        let note = self.bytes(MAX_NOTE_LEN)?;
        Ok((Body::Purge { objects, now, note }, Sealed::Nothing))
    }

    fn rekey(&mut self) -> Result<(Body, Sealed), EntryError> {
        self.r.map_of(2)?;
        self.r.key(0)?;
        let devices = self.list("key records", MAX_UPDATES, |d| {
            d.r.array_of(2)?;
            Ok((d.node()?, d.device()?))
        })?;
        let sorted = devices.is_sorted_by(|a, b| a.0 < b.0);
        self.in_order("key records", MAX_UPDATES, sorted)?;
        self.r.key(1)?;
        let epoch = self.epoch()?;
        Ok((Body::Rekey { devices }, Sealed::Epoch(epoch)))
    }
}
