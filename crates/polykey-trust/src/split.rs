//! Splits: what the owner of a recovery code says about its shares, and what is done with one share.
//!
//! A statement names the owner, how many shares give the code back, how long their holders let the owner object, and
//! for each share the public key of the key that follows from it. So whoever sees a share sees whether it belongs to
//! the statement, and a holder proves that it has its share by a signature, without giving it away. A share travels
//! sealed: to its holder when it is left there, to whoever asked for it when it is released.
//!
//! ```text
//! payload = {0: owner, 1: made at (ms), 2: threshold, 3: wait (ms), 4: [key of share 1, key of share 2, ...],
//!            5: public recovery key of the owner}, signed by the owner and its recovery key
//! proof   = signature by the key of the share over
//!           polykey/v1/share/proof || split (32) || owner (32) || holder (32) || nonce (32)
//! context = split (32) || recipient (32), of both kinds of sealed shares
//! ```
//!
//! Always: a [`Split`] was signed by its owner and a recovery key, so that whoever steals a device, and with it the root
//! key, cannot replace a split. Which recovery key is the owner's, a holder knows from before. Which of two is newer, their time says; the owner sees to it
//! that a later one has a later time.

use std::time::Duration;

use polykey_core::codec::{CodecError, Reader, Writer};
use polykey_core::label::{self, Label};
use polykey_core::recovery::RecoveryKeys;
use polykey_core::sealing::{EncryptionKey, EncryptionPublic, OVERHEAD, seal_to};
use polykey_core::share::{MAX_SHARES, MIN_THRESHOLD, Share};
use polykey_core::sign::{self, SIGNATURE_LEN};
use polykey_core::statement::{Kind, Statement, StatementError};
use polykey_core::{NodeId, Random, StatementId, Timestamp};

/// The longest time that holders wait before they release a share.
pub const MAX_WAIT: Duration = Duration::from_secs(14 * 24 * 3600);
/// Longest statement in bytes: the keys of all shares and an envelope.
pub const MAX_SPLIT_LEN: usize = 1024;
/// Longest sealed share in bytes.
pub const MAX_SEALED_LEN: usize = 33 + OVERHEAD;
/// Length of the nonce that a holder signs.
pub const NONCE_LEN: usize = 32;

/// Why bytes are no split, or a share does not belong to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// Longer than any.
    #[error("the statement about shares is longer than {MAX_SPLIT_LEN} bytes")]
    TooLong,
    /// Not a valid signed statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The payload has another shape.
    #[error("the statement about shares is malformed")]
    Malformed(#[from] CodecError),
    /// Not signed by its owner and the recovery key that it names.
    #[error("the statement about shares of node {owner} is not signed by that node and its recovery key")]
    Signer {
        /// Whose shares it says they are.
        owner: NodeId,
    },
    /// The threshold, the waiting time or the list of keys is out of bounds.
    #[error("the statement about shares promises what cannot be")]
    Bounds,
    /// The share is not one of those that the statement names, or was not sealed for this.
    #[error("the share does not belong to the statement")]
    Share,
    /// The signature is not by the share that was asked for, or over something else.
    #[error("the proof does not hold")]
    Proof,
}

/// A verified statement about the shares of a recovery code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    statement: Statement,
    owner: NodeId,
    made: Timestamp,
    threshold: u8,
    wait: Duration,
    keys: Vec<NodeId>,
    recovery: NodeId,
}

impl Split {
    /// Signs what the owner with these keys says about `shares`, all of one code, in the order of their points.
    ///
    /// # Errors
    /// [`SplitError::Bounds`].
    pub fn sign(
        keys: &RecoveryKeys,
        made: Timestamp,
        threshold: u8,
        wait: Duration,
        shares: &[Share],
    ) -> Result<Split, SplitError> {
        let (root, recovery) = (&keys.root, &keys.recovery);
        let keys: Vec<NodeId> = shares.iter().map(|share| share.key().public()).collect();
        let millis = u64::try_from(wait.as_millis()).map_err(|_| SplitError::Bounds)?;
        check(threshold, millis, &keys)?;
        let mut out = Writer::new();
        out.map(6).u64(0).bytes(root.public().as_bytes());
        out.u64(1).u64(made.as_millis());
        out.u64(2).u64(threshold.into());
        out.u64(3).u64(millis);
        out.u64(4).array(keys.len());
        for key in &keys {
            out.bytes(key.as_bytes());
        }
        out.u64(5).bytes(recovery.public().as_bytes());
        Split::read(Statement::sign(
            Kind::RecoverySplit,
            &out.finish(),
            &[root, recovery],
        ))
    }

    /// Parses and verifies a statement from anywhere.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn verify(bytes: Vec<u8>) -> Result<Split, SplitError> {
        if bytes.len() > MAX_SPLIT_LEN {
            return Err(SplitError::TooLong);
        }
        Split::read(Statement::verify(Kind::RecoverySplit, bytes)?)
    }

    /// Reads a statement that this node made or verified and has since kept sealed, without checking the signature
    /// again. Never for bytes from anywhere else.
    ///
    /// # Errors
    /// As [`Split::verify`], but for the signature.
    pub fn accept_unverified(bytes: Vec<u8>) -> Result<Split, SplitError> {
        Split::read(Statement::accept_unverified(Kind::RecoverySplit, bytes)?)
    }

    fn read(statement: Statement) -> Result<Split, SplitError> {
        let mut from = Reader::new(statement.payload(), MAX_SPLIT_LEN, "a statement about shares")?;
        from.map_of(6)?;
        from.key(0)?;
        let owner = NodeId::from_bytes(from.bytes_of()?);
        from.key(1)?;
        let made = Timestamp::from_millis(from.u64()?);
        from.key(2)?;
        let threshold = u8::try_from(from.u64()?).map_err(|_| SplitError::Bounds)?;
        from.key(3)?;
        let millis = from.u64()?;
        from.key(4)?;
        let count = from.array()?;
        if count > usize::from(MAX_SHARES) {
            return Err(SplitError::Bounds);
        }
        let keys = (0..count).map(|_| Ok(NodeId::from_bytes(from.bytes_of()?)));
        let keys = keys.collect::<Result<Vec<_>, CodecError>>()?;
        from.key(5)?;
        let recovery = NodeId::from_bytes(from.bytes_of()?);
        from.finish()?;
        check(threshold, millis, &keys)?;
        let signers = statement.signers();
        let by_both = signers.len() == 2 && owner != recovery;
        if !by_both || !signers.contains(&owner) || !signers.contains(&recovery) {
            return Err(SplitError::Signer { owner });
        }
        Ok(Split {
            owner,
            made,
            threshold,
            wait: Duration::from_millis(millis),
            keys,
            recovery,
            statement,
        })
    }

    /// Its id, which names the split.
    pub fn id(&self) -> StatementId {
        self.statement.id()
    }

    /// Whose recovery code was split.
    pub fn owner(&self) -> NodeId {
        self.owner
    }

    /// The public half of the recovery key that signed it.
    pub fn recovery(&self) -> NodeId {
        self.recovery
    }

    /// When, by the owner's clock.
    pub fn made(&self) -> Timestamp {
        self.made
    }

    /// How many shares give the code back.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// How many shares there are.
    pub fn count(&self) -> u8 {
        u8::try_from(self.keys.len()).expect("bounded when it was read")
    }

    /// How long a holder waits before it releases its share.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// The statement as it is stored and sent.
    pub fn as_bytes(&self) -> &[u8] {
        self.statement.as_bytes()
    }

    /// True when `share` is one of those that the statement names.
    pub fn names(&self, share: &Share) -> bool {
        self.key_of(share.point()) == Some(&share.key().public())
    }

    fn key_of(&self, point: u8) -> Option<&NodeId> {
        self.keys.get(usize::from(point).checked_sub(1)?)
    }

    /// Seals a share for the node `to`, for this use alone.
    pub fn seal(
        &self,
        purpose: Purpose,
        share: &Share,
        to: NodeId,
        key: &EncryptionPublic,
        random: &dyn Random,
    ) -> Vec<u8> {
        seal_to(key, purpose.label(), &self.context(&to), share.expose(), random)
    }

    /// Opens a share that was sealed for the node `me` for this use, and checks that the statement names it.
    ///
    /// # Errors
    /// [`SplitError::Share`].
    pub fn open(
        &self,
        purpose: Purpose,
        sealed: &[u8],
        me: NodeId,
        key: &EncryptionKey,
    ) -> Result<Share, SplitError> {
        let opened = key.open(purpose.label(), &self.context(&me), sealed);
        let share = Share::parse(opened.map_err(|_| SplitError::Share)?).map_err(|_| SplitError::Share)?;
        if self.names(&share) {
            Ok(share)
        } else {
            Err(SplitError::Share)
        }
    }

    fn context(&self, to: &NodeId) -> Vec<u8> {
        [&self.id().as_bytes()[..], to.as_bytes()].concat()
    }

    /// The proof that the node `holder` has `share`, for whoever chose `nonce`.
    pub fn prove(&self, share: &Share, holder: &NodeId, nonce: &[u8; NONCE_LEN]) -> [u8; SIGNATURE_LEN] {
        share.key().sign(&self.proof(holder, nonce))
    }

    /// Checks that the node `holder` has the share with this point.
    ///
    /// # Errors
    /// [`SplitError::Proof`].
    pub fn check_proof(
        &self,
        point: u8,
        holder: &NodeId,
        nonce: &[u8; NONCE_LEN],
        proof: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SplitError> {
        let key = self.key_of(point).ok_or(SplitError::Proof)?;
        sign::verify(key, &self.proof(holder, nonce), proof).map_err(|_| SplitError::Proof)
    }

    fn proof(&self, holder: &NodeId, nonce: &[u8; NONCE_LEN]) -> Vec<u8> {
        let id = self.id();
        let parts: [&[u8]; 5] = [
            label::RECOVERY_SHARE_PROOF.as_bytes(),
            id.as_bytes(),
            self.owner.as_bytes(),
            holder.as_bytes(),
            nonce,
        ];
        parts.concat()
    }
}

/// What a share is sealed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Its holder keeps it.
    Keep,
    /// Whoever asked for it gets it.
    Release,
}

impl Purpose {
    fn label(self) -> Label {
        match self {
            Purpose::Keep => label::RECOVERY_SHARE_SEAL,
            Purpose::Release => label::RECOVERY_SHARE_RELEASE,
        }
    }
}

fn check(threshold: u8, wait: u64, keys: &[NodeId]) -> Result<(), SplitError> {
    let count = u8::try_from(keys.len()).map_err(|_| SplitError::Bounds)?;
    let is_repeated = keys.iter().enumerate().any(|(at, key)| keys[..at].contains(key));
    let fits = count <= MAX_SHARES
        && (MIN_THRESHOLD..=count).contains(&threshold)
        && u128::from(wait) <= MAX_WAIT.as_millis()
        && !is_repeated;
    fits.then_some(()).ok_or(SplitError::Bounds)
}

#[cfg(test)]
mod tests {
    use polykey_core::recovery::RecoveryCode;
    use polykey_core::share::{combine, split};
    use polykey_core::sign::SigningKey;
    use polykey_core::{Key, SecretBytes};
    use polykey_testkit::Chance;
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn code(seed: u8) -> RecoveryCode {
        RecoveryCode::from_entropy(&Key::from_array([seed; 32]))
    }

    fn made(seed: u8, threshold: u8, count: u8) -> (Split, Vec<Share>) {
        let code = code(seed);
        let shares = split(&code, threshold, count, &Chance::new(seed.into())).expect("split");
        let at = Timestamp::from_millis(1_800_000_000_000);
        let split = Split::sign(&code.keys(), at, threshold, DAY, &shares).expect("bounded");
        (split, shares)
    }

    fn holder(seed: u8) -> NodeId {
        SigningKey::from_seed(&Key::from_array([seed; 32])).public()
    }

    #[test]
    fn a_statement_reads_back_and_its_bytes_are_frozen() {
        let (split, shares) = made(1, 3, 5);
        let read = Split::verify(split.as_bytes().to_vec()).expect("valid");
        assert_eq!(read, split);
        assert_eq!(Split::accept_unverified(split.as_bytes().to_vec()), Ok(read));
        assert_eq!((split.threshold(), split.count(), split.wait()), (3, 5, DAY));
        assert_eq!(split.owner(), code(1).keys().root.public());
        assert!(shares.iter().all(|share| split.names(share)));
        assert_eq!(split.id().to_string(), FROZEN);
    }

    const FROZEN: &str = "faabbfddfe0acfb86bb9ccbe322662ccb793ff3306901c8d72287b86ccd8a5aa";

    #[test]
    fn no_flipped_bit_and_no_cut_verifies() {
        let (split, _) = made(1, 2, 3);
        for bit in 0..split.as_bytes().len() * 8 {
            let mut bytes = split.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Split::verify(bytes).is_err(), "bit {bit}");
        }
        for len in 0..split.as_bytes().len() {
            assert!(Split::verify(split.as_bytes()[..len].to_vec()).is_err(), "{len}");
        }
        assert_eq!(
            Split::verify(vec![0; MAX_SPLIT_LEN + 1]),
            Err(SplitError::TooLong)
        );
    }

    /// A statement that says what `write` writes, signed by `signers`.
    fn signed(write: impl FnOnce(&mut Writer), signers: &[&SigningKey]) -> Result<Split, SplitError> {
        let mut out = Writer::new();
        write(&mut out);
        let statement = Statement::sign(Kind::RecoverySplit, &out.finish(), signers);
        Split::verify(statement.as_bytes().to_vec())
    }

    fn payload(out: &mut Writer, of: &RecoveryKeys, threshold: u64, wait: u64, keys: &[[u8; 32]]) {
        out.map(6).u64(0).bytes(of.root.public().as_bytes());
        out.u64(1).u64(5).u64(2).u64(threshold).u64(3).u64(wait);
        out.u64(4).array(keys.len());
        for key in keys {
            out.bytes(key);
        }
        out.u64(5).bytes(of.recovery.public().as_bytes());
    }

    #[test]
    fn other_shapes_signers_and_promises_are_refused() {
        let (own, other) = (code(1).keys(), code(2).keys());
        let owner = own.root.public();
        let both = [&own.root, &own.recovery];
        let keys: Vec<[u8; 32]> = (0..20).map(|n| [n; 32]).collect();
        let good = |out: &mut Writer| payload(out, &own, 2, 0, &keys[..3]);
        assert!(signed(good, &both).is_ok());
        // The root key alone is what a thief of a device has.
        for forged in [
            &[&own.root][..],
            &[&own.recovery],
            &[&other.root, &other.recovery],
            &[&own.root, &other.recovery],
            &[&own.root, &own.recovery, &other.root],
        ] {
            assert_eq!(signed(good, forged), Err(SplitError::Signer { owner }));
        }
        let most = u64::try_from(MAX_WAIT.as_millis()).expect("short");
        let twice = [keys[0], keys[1], keys[0]];
        type Promise<'k> = (u64, u64, &'k [[u8; 32]]);
        let bad: [Promise<'_>; 9] = [
            (1, 0, &keys[..3]),
            (0, 0, &keys[..3]),
            (4, 0, &keys[..3]),
            (258, 0, &keys[..3]),
            (2, 0, &[]),
            (2, 0, &keys[..17]),
            (2, most + 1, &keys[..3]),
            (2, u64::MAX, &keys[..3]),
            (2, 0, &twice),
        ];
        for (threshold, wait, keys) in bad {
            let refused = signed(|out| payload(out, &own, threshold, wait, keys), &both);
            assert_eq!(
                refused,
                Err(SplitError::Bounds),
                "{threshold} {wait} {}",
                keys.len()
            );
        }
        assert!(signed(|out| payload(out, &own, 16, most, &keys[..16]), &both).is_ok());
        let malformed = |refused| matches!(refused, Err(SplitError::Malformed(_)));
        assert!(malformed(signed(
            |out| {
                out.null();
            },
            &both
        )));
        assert!(malformed(signed(
            |out| {
                out.map(0);
            },
            &both
        )));
        // Another kind of statement about the same things.
        let mut out = Writer::new();
        good(&mut out);
        let link = Statement::sign(Kind::Link, &out.finish(), &both);
        let refused = Split::verify(link.as_bytes().to_vec());
        assert_eq!(refused, Err(SplitError::Statement(StatementError::WrongKind)));
    }

    #[test]
    fn only_shares_of_this_split_belong_to_it() {
        let (split, shares) = made(1, 2, 3);
        let (others, foreign) = made(2, 2, 3);
        // The same code split anew.
        let again = polykey_core::share::split(&code(1), 2, 3, &Chance::new(99)).expect("split");
        assert!(!foreign.iter().chain(&again).any(|share| split.names(share)));
        assert!(!shares.iter().any(|share| others.names(share)));
        // A share at another's point.
        let mut moved = shares[0].expose().to_vec();
        moved[0] = 2;
        let moved = Share::parse(SecretBytes::new(moved)).expect("a share's shape");
        assert!(!split.names(&moved));
        // A point that the split does not have.
        moved_to(&split, &shares[0], 4);
    }

    #[track_caller]
    fn moved_to(split: &Split, share: &Share, point: u8) {
        let mut bytes = share.expose().to_vec();
        bytes[0] = point;
        assert!(!split.names(&Share::parse(SecretBytes::new(bytes)).expect("a share's shape")));
    }

    #[test]
    fn a_sealed_share_opens_for_its_node_split_and_use_alone() {
        let (split, shares) = made(1, 2, 3);
        let (other, _) = made(2, 2, 3);
        let key = EncryptionKey::from_seed(&Key::from_array([8; 32]));
        let (me, chance) = (holder(7), Chance::new(3));
        let sealed = split.seal(Purpose::Keep, &shares[0], me, &key.public(), &chance);
        assert_eq!(sealed.len(), MAX_SEALED_LEN);
        let opened = split.open(Purpose::Keep, &sealed, me, &key).expect("for us");
        assert!(opened == shares[0]);
        let refused = |split: &Split, purpose, sealed: &[u8], me, key: &EncryptionKey| {
            assert_eq!(
                split.open(purpose, sealed, me, key).err(),
                Some(SplitError::Share)
            );
        };
        refused(&split, Purpose::Release, &sealed, me, &key);
        refused(&split, Purpose::Keep, &sealed, holder(9), &key);
        refused(&other, Purpose::Keep, &sealed, me, &key);
        refused(&split, Purpose::Keep, &sealed[1..], me, &key);
        refused(&split, Purpose::Keep, &[], me, &key);
        let foreign = EncryptionKey::from_seed(&Key::from_array([9; 32]));
        refused(&split, Purpose::Keep, &sealed, me, &foreign);
        // An owner that seals what its statement does not name.
        let (_, strange) = made(3, 2, 3);
        let false_one = split.seal(Purpose::Keep, &strange[0], me, &key.public(), &chance);
        refused(&split, Purpose::Keep, &false_one, me, &key);
        let noise = seal_to(
            &key.public(),
            label::RECOVERY_SHARE_SEAL,
            &split.context(&me),
            b"x",
            &chance,
        );
        refused(&split, Purpose::Keep, &noise, me, &key);
    }

    #[test]
    fn a_proof_holds_for_its_share_holder_nonce_and_split_alone() {
        let (split, shares) = made(1, 2, 3);
        let (other, foreign) = made(2, 2, 3);
        let (me, nonce) = (holder(7), [5; NONCE_LEN]);
        let proof = split.prove(&shares[1], &me, &nonce);
        assert_eq!(split.check_proof(2, &me, &nonce, &proof), Ok(()));
        for point in [0, 1, 3, 4, 255] {
            assert_eq!(
                split.check_proof(point, &me, &nonce, &proof),
                Err(SplitError::Proof)
            );
        }
        let lies = [
            split.prove(&shares[1], &me, &[6; NONCE_LEN]),
            split.prove(&shares[1], &holder(8), &nonce),
            split.prove(&shares[0], &me, &nonce),
            other.prove(&shares[1], &me, &nonce),
            other.prove(&foreign[1], &me, &nonce),
            [0; SIGNATURE_LEN],
        ];
        for (at, lie) in lies.iter().enumerate() {
            assert_eq!(
                split.check_proof(2, &me, &nonce, lie),
                Err(SplitError::Proof),
                "{at}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_comes_from_elsewhere_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1200)) {
            prop_assert!(Split::verify(bytes.clone()).is_err());
            let (split, _) = made(1, 2, 2);
            let key = EncryptionKey::from_seed(&Key::from_array([8; 32]));
            prop_assert!(split.open(Purpose::Keep, &bytes, holder(7), &key).is_err());
        }

        #[test]
        fn a_split_of_any_shape_is_kept_proven_and_put_together(
            seed in 1u8..=200, count in 2u8..=16, wanted in 2u8..=16,
        ) {
            let threshold = wanted.min(count);
            let (split, shares) = made(seed, threshold, count);
            let split = Split::verify(split.as_bytes().to_vec()).expect("its own bytes");
            let key = EncryptionKey::from_seed(&Key::from_array([seed; 32]));
            let (me, nonce) = (holder(seed), [seed; NONCE_LEN]);
            let last = shares.last().expect("some");
            let proof = split.prove(last, &me, &nonce);
            prop_assert_eq!(split.check_proof(count, &me, &nonce, &proof), Ok(()));
            let sealed = split.seal(Purpose::Release, last, me, &key.public(), &Chance::new(1));
            let opened = split.open(Purpose::Release, &sealed, me, &key).expect("for us");
            let mut some = vec![&opened];
            some.extend(&shares[..usize::from(threshold) - 1]);
            let code = combine(&some, threshold).expect("enough");
            prop_assert_eq!(code.keys().root.public(), split.owner());
        }
    }
}
