//! Epochs: the keys that a charter hands on.
//!
//! Genesis, every removal of somebody else, and every rekey open an epoch: a random key, fixed by a
//! commitment in the entry and named by the entry's id. The key is sealed to each member twice, to the
//! device's encryption key and to the key of its recovery code; every earlier key that the author held is
//! wrapped under it. A new member is given all keys in its grant.
//!
//! A commit is encrypted under a key derived from the keys of *all* standing epoch heads that its writer
//! knew, in id order: of two concurrent removals, neither removed node knows both keys.
//!
//! Always: a key is held only after its commitment was checked, in constant time. What an epoch's heads are
//! is judged by the commit's charter heads alone, so that nothing that comes later changes a commit's key.

use std::collections::BTreeMap;

use polykey_core::aead;
use polykey_core::hash::keyed_hash;
use polykey_core::id::{NodeId, StatementId, VaultId};
use polykey_core::kdf;
use polykey_core::label::{self, Label};
use polykey_core::sealing::{EncryptionKey, seal_to};
use polykey_core::{Key, Random, SecretBytes};

use super::Charter;
use super::bits::Bits;
use super::entry::{Body, Bundle, EpochBox, MAX_EPOCHS, MemberKeys, Sealed, Share};
use super::standing::Standing;

/// Length of one id and key in a bundle.
const PAIR_LEN: usize = StatementId::LEN + Key::LEN;

/// Why a commit key cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// The charter heads are not all here.
    #[error("the charter heads are not all known")]
    UnknownHeads,
    /// We were not given the key of this epoch, or what we were given does not fit its commitment.
    #[error("no key was given to us for the epoch {epoch} that node {author} opened")]
    NoKey {
        /// The entry that opened the epoch.
        epoch: StatementId,
        /// Who signed it.
        author: NodeId,
    },
}

/// Who opens what is sealed in a charter, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Opener<'k> {
    /// The member.
    pub node: NodeId,
    /// The device's encryption keys by the number of their key record, old ones too.
    pub devices: &'k [(u64, &'k EncryptionKey)],
    /// The key of the recovery code, when the user has typed it.
    pub code: Option<&'k EncryptionKey>,
}

/// Which of a member's two keys something is sealed to.
#[derive(Clone, Copy)]
enum For {
    Device = 0,
    Code = 1,
}

/// The epoch keys that somebody holds. Secret: wiped on drop, never printed.
#[derive(Default)]
pub struct EpochKeys {
    keys: BTreeMap<StatementId, Key>,
}

impl std::fmt::Debug for EpochKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EpochKeys({} hidden)", self.keys.len())
    }
}

impl EpochKeys {
    /// Opens every key that the charter holds for `opener`.
    pub fn open(charter: &Charter, opener: &Opener<'_>) -> EpochKeys {
        let mut keys = EpochKeys::default();
        keys.open_more(charter, opener);
        keys
    }

    /// Opens what is not held yet, after entries came in. Costs little when nothing is missing.
    pub fn open_more(&mut self, charter: &Charter, opener: &Opener<'_>) {
        let mut missing = Bits::default();
        for (at, placed) in charter.entries.iter().enumerate() {
            if placed.entry.commitment().is_some() && !self.holds(&placed.entry.id()) {
                missing.insert(at);
            }
        }
        // Newest first: one sealed key and one box then open all that is older.
        for at in (0..charter.entries.len()).rev() {
            let placed = &charter.entries[at];
            let id = placed.entry.id();
            if missing.contains(at) {
                self.open_share(charter, &id, opener);
            }
            let wanted = || {
                missing
                    .iter()
                    .any(|m| placed.past.contains(m) && !self.holds_at(charter, m))
            };
            if placed.entry.commitment().is_some() {
                if self.holds(&id) && wanted() {
                    self.unwrap(charter, &id);
                }
            } else if placed.tenure.is_some_and(|tenure| tenure.holder == opener.node) && wanted() {
                self.open_bundle(charter, at, opener);
            }
        }
    }

    /// True when the key of this epoch is held.
    pub fn holds(&self, epoch: &StatementId) -> bool {
        self.keys.contains_key(epoch)
    }

    fn holds_at(&self, charter: &Charter, at: usize) -> bool {
        self.holds(&charter.entries[at].entry.id())
    }

    /// How many keys are held.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True when no key is held, as for a keeper.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Holds a key after checking its commitment; false when it does not fit or the epoch is not one.
    pub fn adopt(&mut self, charter: &Charter, epoch: StatementId, key: Key) -> bool {
        let entry = charter.entry(&epoch);
        let fits = entry
            .and_then(|entry| entry.commitment())
            .is_some_and(|want| Key::from_array(*want) == Key::from_array(commitment(&key)));
        if fits {
            self.keys.insert(epoch, key);
        }
        fits
    }

    /// The key that a commit with these charter heads is encrypted under.
    ///
    /// # Errors
    /// [`EpochError`] names the epoch whose key is missing and who opened it.
    ///
    /// Source: HKDF-SHA-256 over the keys of the standing epoch heads in id order, label
    /// `vault/commit-key`, context vault id and the epochs' ids; `docs/format.md`.
    pub fn commit_key(&self, charter: &Charter, heads: &[StatementId]) -> Result<Key, EpochError> {
        self.derive(charter, heads, label::COMMIT_KEY)
    }

    /// The key that the note of a purge with these parents is sealed under.
    pub(super) fn note_key(&self, charter: &Charter, heads: &[StatementId]) -> Result<Key, EpochError> {
        self.derive(charter, heads, label::PURGE_NOTE_KEY)
    }

    fn derive(&self, charter: &Charter, heads: &[StatementId], label: Label) -> Result<Key, EpochError> {
        let epochs = charter.epochs_at(heads).ok_or(EpochError::UnknownHeads)?;
        let mut material = zeroize::Zeroizing::new(Vec::with_capacity(epochs.len() * Key::LEN));
        let mut context = charter.id().as_bytes().to_vec();
        for epoch in &epochs {
            let key = self.keys.get(epoch).ok_or_else(|| EpochError::NoKey {
                epoch: *epoch,
                author: charter
                    .entry(epoch)
                    .map_or(charter.genesis().author(), |e| e.author()),
            })?;
            material.extend_from_slice(key.expose());
            context.extend_from_slice(epoch.as_bytes());
        }
        Ok(kdf::derive_from(&material, label, &context))
    }

    fn open_share(&mut self, charter: &Charter, id: &StatementId, opener: &Opener<'_>) {
        let Some(entry) = charter.entry(id) else { return };
        let Sealed::Epoch(sealed) = entry.sealed() else {
            return;
        };
        let Ok(at) = sealed
            .shares
            .binary_search_by_key(&opener.node, |share| share.node)
        else {
            return;
        };
        let share = &sealed.shares[at];
        // Genesis is sealed before the vault has its id.
        let vault = entry.under().map(|_| charter.id());
        let context = |which| place(vault, &sealed.commitment, &opener.node, share.number, which);
        let opened = opener
            .each(share.number, &share.device, &share.code)
            .find_map(|(which, key, bytes)| {
                let plain = key.open(label::EPOCH_SEAL, &context(which), bytes).ok()?;
                Key::copy_from(plain.expose())
            });
        if let Some(key) = opened {
            self.adopt(charter, *id, key);
        }
    }

    fn open_bundle(&mut self, charter: &Charter, at: usize, opener: &Opener<'_>) {
        let entry = &charter.entries[at].entry;
        let (Sealed::Bundle(bundle), Some(under)) = (entry.sealed(), entry.under()) else {
            return;
        };
        let (Body::Grant { keys: Some(keys), .. } | Body::Succeed { keys: Some(keys), .. }) = entry.body()
        else {
            return;
        };
        let number = keys.device.number;
        let context = |which| place(Some(charter.id()), under.as_bytes(), &opener.node, number, which);
        let opened = opener
            .each(number, &bundle.device, &bundle.code)
            .find_map(|(which, key, bytes)| key.open(label::EPOCH_BUNDLE, &context(which), bytes).ok());
        if let Some(pairs) = opened {
            self.adopt_pairs(charter, &pairs);
        }
    }

    fn unwrap(&mut self, charter: &Charter, id: &StatementId) {
        let (Some(entry), Some(key)) = (charter.entry(id), self.keys.get(id)) else {
            return;
        };
        let Sealed::Epoch(sealed) = entry.sealed() else {
            return;
        };
        if sealed.wrapped.is_empty() {
            return;
        }
        let context = [&charter.id().as_bytes()[..], &sealed.commitment].concat();
        let wrapping = kdf::derive(key, label::EPOCH_WRAP, &context);
        if let Ok(pairs) = aead::open(&wrapping, label::EPOCH_WRAP_AAD, &context, &sealed.wrapped) {
            self.adopt_pairs(charter, &pairs);
        }
    }

    fn adopt_pairs(&mut self, charter: &Charter, pairs: &SecretBytes) {
        for pair in pairs.expose().chunks_exact(PAIR_LEN) {
            let (id, key) = pair.split_at(StatementId::LEN);
            let (Ok(id), Some(key)) = (StatementId::try_from(id), Key::copy_from(key)) else {
                continue;
            };
            if !self.holds(&id) {
                self.adopt(charter, id, key);
            }
        }
    }

    /// All keys as pairs of id and key, the newest last.
    fn pairs(&self, charter: &Charter) -> SecretBytes {
        let count = self.keys.len().min(MAX_EPOCHS);
        let mut pairs = Vec::with_capacity(count * PAIR_LEN);
        let held = charter.entries().map(|entry| entry.id());
        let held: Vec<_> = held.filter(|id| self.holds(id)).collect();
        // Beyond the bound the oldest go: they are wrapped in an earlier epoch that is among the rest.
        for id in &held[held.len().saturating_sub(MAX_EPOCHS)..] {
            pairs.extend_from_slice(id.as_bytes());
            pairs.extend_from_slice(self.keys[id].expose());
        }
        SecretBytes::new(pairs)
    }

    /// Seals all keys to a new member.
    pub(super) fn bundle(
        &self,
        charter: &Charter,
        under: &StatementId,
        node: &NodeId,
        keys: &MemberKeys,
        random: &dyn Random,
    ) -> Bundle {
        let pairs = self.pairs(charter);
        let context = |which| {
            let number = keys.device.number;
            place(Some(charter.id()), under.as_bytes(), node, number, which)
        };
        let seal = |to, which| seal_to(to, label::EPOCH_BUNDLE, &context(which), pairs.expose(), random);
        Bundle {
            device: seal(&keys.device.public, For::Device),
            code: seal(&keys.code, For::Code),
        }
    }
}

impl<'k> Opener<'k> {
    /// The keys that may open something sealed to both, device first.
    fn each<'b>(
        &self,
        number: u64,
        device: &'b [u8],
        code: &'b [u8],
    ) -> impl Iterator<Item = (For, &'k EncryptionKey, &'b [u8])> + use<'k, 'b> {
        let devices = self.devices.iter().filter(move |(have, _)| *have == number);
        let devices = devices.map(move |(_, key)| (For::Device, *key, device));
        devices.chain(self.code.map(|key| (For::Code, key, code)))
    }
}

impl Charter {
    /// The epochs whose keys make the key of a commit with these charter heads, in id order; `None` when a
    /// head is not here.
    pub fn epochs_at(&self, heads: &[StatementId]) -> Option<Vec<StatementId>> {
        let standing = self.standing_at(heads)?;
        let known = self.known_at(heads)?;
        let epochs = self.epoch_heads(&standing, &known);
        let mut ids: Vec<_> = epochs.into_iter().map(|at| self.entries[at].entry.id()).collect();
        ids.sort_unstable();
        Some(ids)
    }

    /// Standing entries in `known` that open an epoch and that no other such entry follows.
    pub(super) fn epoch_heads(&self, standing: &Standing, known: &Bits) -> Vec<usize> {
        let mut followed = Bits::default();
        let mut heads = Vec::new();
        for at in (0..self.entries.len()).rev().filter(|at| known.contains(*at)) {
            let opens = self.entries[at].entry.commitment().is_some() && standing.stands(at);
            if opens && !followed.contains(at) {
                followed.union(&self.entries[at].past);
                heads.push(at);
            }
        }
        heads
    }

    pub(super) fn all(&self) -> Bits {
        self.known_at(&self.heads()).expect("its own heads are here")
    }
}

/// Fixes a key without telling it.
fn commitment(key: &Key) -> [u8; 32] {
    keyed_hash(key, label::EPOCH_COMMITMENT, &[])
}

/// Where a sealed key belongs: parts of fixed length.
fn place(vault: Option<VaultId>, what: &[u8; 32], node: &NodeId, number: u64, which: For) -> Vec<u8> {
    let vault = vault.map_or([0; 32], |vault| *vault.as_bytes());
    [
        &vault[..],
        what,
        node.as_bytes(),
        &number.to_be_bytes(),
        &[which as u8],
    ]
    .concat()
}

/// A new epoch's key, sealed to `members`, with all that `held` has wrapped under it.
pub(super) fn new_epoch(
    charter: Option<(&Charter, &EpochKeys)>,
    members: &[(NodeId, MemberKeys)],
    random: &dyn Random,
) -> (Key, EpochBox) {
    let key = Key::random(random);
    let commitment = commitment(&key);
    let vault = charter.map(|(charter, _)| charter.id());
    let shares = members
        .iter()
        .map(|(node, keys)| {
            let number = keys.device.number;
            let seal = |to, which| {
                let context = place(vault, &commitment, node, number, which);
                seal_to(to, label::EPOCH_SEAL, &context, key.expose(), random)
            };
            Share {
                node: *node,
                number,
                device: seal(&keys.device.public, For::Device),
                code: seal(&keys.code, For::Code),
            }
        })
        .collect();
    let wrapped = match charter {
        Some((charter, held)) if !held.is_empty() => {
            let context = [&charter.id().as_bytes()[..], &commitment].concat();
            let wrapping = kdf::derive(&key, label::EPOCH_WRAP, &context);
            let pairs = held.pairs(charter);
            aead::seal(&wrapping, label::EPOCH_WRAP_AAD, &context, pairs.expose(), random)
        }
        _ => Vec::new(),
    };
    let sealed = EpochBox {
        commitment,
        shares,
        wrapped,
    };
    (key, sealed)
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::super::cast::{Person, chance, merge, time};
    use super::*;

    fn can_write(who: &EpochKeys, charter: &Charter) -> bool {
        who.commit_key(charter, &charter.heads()).is_ok()
    }

    #[test]
    fn a_new_member_reads_all_that_was_written_before() {
        let (a, b, c) = (Person::new(1), Person::new(2), Person::new(3));
        let mut charter = a.found(1);
        let mut past = vec![charter.heads()];
        a.grants(&mut charter, &c, Role::Writer);
        for _ in 0..3 {
            a.revokes(&mut charter, &c, &[]);
            past.push(charter.heads());
            a.grants(&mut charter, &c, Role::Reader);
        }
        a.grants(&mut charter, &b, Role::Reader);
        for opened in [b.open(&charter), b.open_with_code(&charter), c.open(&charter)] {
            for heads in &past {
                let theirs = opened.commit_key(&charter, heads).expect("sealed to them");
                assert_eq!(theirs, a.open(&charter).commit_key(&charter, heads).unwrap());
            }
        }
    }

    #[test]
    fn a_removed_member_has_no_key_of_what_comes() {
        let (a, b) = (Person::new(1), Person::new(2));
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        let before = charter.heads();
        let removal = a.revokes(&mut charter, &b, &[]);
        for keys in [b.open(&charter), b.open_with_code(&charter)] {
            assert!(keys.commit_key(&charter, &before).is_ok(), "what it had it keeps");
            assert_eq!(
                keys.commit_key(&charter, &charter.heads()).err(),
                Some(EpochError::NoKey {
                    epoch: removal,
                    author: a.node(),
                })
            );
        }
        assert!(can_write(&a.open(&charter), &charter) && can_write(&a.open_with_code(&charter), &charter));
    }

    #[test]
    fn concurrent_removals_both_hold() {
        let [a, b, x, y] = [1, 2, 3, 4].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        a.grants(&mut charter, &x, Role::Writer);
        a.grants(&mut charter, &y, Role::Writer);
        let mut other = charter.clone();
        a.revokes(&mut charter, &x, &[]);
        b.revokes(&mut other, &y, &[]);
        assert!(can_write(&x.open(&other), &other) && can_write(&y.open(&charter), &charter));
        merge(&mut charter, &other);
        assert_eq!(charter.epochs_at(&charter.heads()).unwrap().len(), 2);
        for (who, can) in [(&a, true), (&b, true), (&x, false), (&y, false)] {
            assert_eq!(can_write(&who.open(&charter), &charter), can);
        }
    }

    #[test]
    fn a_newer_key_record_needs_only_the_newer_key_from_then_on() {
        let (a, mut b) = (Person::new(1), Person::new(2));
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Writer);
        let stolen = Person::new(2);
        b.device = EncryptionKey::from_seed(&Key::from_array([77; 32]));
        b.number = 1;
        a.rekeys(&mut charter, &[(b.node(), b.device_key())]);
        assert!(can_write(&b.open(&charter), &charter));
        assert_eq!(b.open(&charter).len(), 2, "the older key is wrapped in the newer");
        assert!(!can_write(&stolen.open(&charter), &charter));
        let old = charter.rekey(
            &a.root,
            &a.open(&charter),
            &[(b.node(), stolen.device_key())],
            time(9),
            &chance(&charter),
        );
        assert!(old.is_err(), "a key record never goes back");
    }

    #[test]
    fn whoever_is_let_in_beside_an_epoch_is_given_its_key_by_the_next() {
        let [a, b, x, y] = [1, 2, 3, 4].map(Person::new);
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        a.grants(&mut charter, &x, Role::Writer);
        let mut other = charter.clone();
        a.revokes(&mut charter, &x, &[]);
        b.grants(&mut other, &y, Role::Writer);
        assert!(!charter.needs_rekey() && !other.needs_rekey());
        merge(&mut charter, &other);
        assert!(!can_write(&y.open(&charter), &charter) && charter.needs_rekey());
        b.rekeys(&mut charter, &[]);
        assert!(can_write(&y.open(&charter), &charter) && !charter.needs_rekey());
        assert!(!can_write(&x.open(&charter), &charter));
    }

    #[test]
    fn whoever_leaves_makes_no_key_and_the_next_epoch_is_without_it() {
        let (a, b) = (Person::new(1), Person::new(2));
        let mut charter = a.found(1);
        a.grants(&mut charter, &b, Role::Admin);
        let leave = charter.remove_self(&b.root, &[], time(4)).unwrap();
        charter.insert(leave).unwrap();
        assert!(charter.needs_rekey() && can_write(&b.open(&charter), &charter));
        a.rekeys(&mut charter, &[]);
        assert!(!charter.needs_rekey() && !can_write(&b.open(&charter), &charter));
    }

    #[test]
    fn keepers_hold_no_key() {
        let (a, k) = (Person::new(1), Person::new(2));
        let mut charter = a.found(1);
        a.grants(&mut charter, &k, Role::Keeper);
        a.rekeys(&mut charter, &[]);
        assert!(k.open(&charter).is_empty() && k.open_with_code(&charter).is_empty());
    }

    #[test]
    fn a_key_that_does_not_fit_its_commitment_is_not_held() {
        let a = Person::new(1);
        let charter = a.found(1);
        let (genesis, mut keys) = (charter.genesis().id(), EpochKeys::default());
        assert!(!keys.adopt(&charter, genesis, Key::from_array([0; 32])) && keys.is_empty());
        assert!(!keys.adopt(
            &charter,
            StatementId::from_bytes([0; 32]),
            Key::from_array([0; 32])
        ));
    }
}
