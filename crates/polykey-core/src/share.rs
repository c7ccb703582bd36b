//! Shares of a recovery code: any `threshold` of them give it back, fewer say nothing about it.
//!
//! What is split is the entropy of the code (16 or 32 bytes), byte by byte, by Shamir's scheme over GF(2^8). A share
//! is a point, which counts from 1, and the value of each byte's polynomial there. A key that follows from the share
//! alone proves that somebody has it without giving it away.
//!
//! Always: a share is wiped on drop and hidden from `Debug`; [`combine`] checks no more than that the shares fit each
//! other, so whoever uses it compares the code with the node that it should open.
//!
//! Source: A. Shamir, "How to share a secret", 1979; `docs/format.md`.

use std::fmt;

use vsss_rs::Gf256;

use crate::kdf::derive_from;
use crate::label;
use crate::random::{Chance, Random};
use crate::recovery::RecoveryCode;
use crate::scrub::{DEEP, scrubbed};
use crate::secret::{SecretBytes, wipe};
use crate::sign::SigningKey;

/// Fewest shares that give a code back: with one, each holder would have it.
pub const MIN_THRESHOLD: u8 = 2;
/// Most shares of a code.
pub const MAX_SHARES: u8 = 16;

/// Why a code was not split or put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The threshold does not fit the number of shares.
    #[error(
        "of {count} shares (at most {MAX_SHARES}), {MIN_THRESHOLD} to {count} can be needed, not {threshold}"
    )]
    Threshold {
        /// How many would give the code back.
        threshold: u8,
        /// How many there would be.
        count: u8,
    },
    /// The bytes are no share.
    #[error("this is no share of a recovery code")]
    Malformed,
    /// Fewer shares than it takes, one of them twice, or shares of codes of different lengths.
    #[error("these shares do not make a recovery code")]
    Unfit,
}

/// One share.
#[derive(PartialEq, Eq)]
pub struct Share(SecretBytes);

impl Share {
    /// The share with these bytes: the point, then 16 or 32 bytes.
    ///
    /// # Errors
    /// [`ShareError::Malformed`].
    pub fn parse(bytes: SecretBytes) -> Result<Share, ShareError> {
        let point = bytes.expose().first().copied().unwrap_or_default();
        if !matches!(bytes.len(), 17 | 33) || !(1..=MAX_SHARES).contains(&point) {
            return Err(ShareError::Malformed);
        }
        Ok(Share(bytes))
    }

    /// Its point, from 1 to [`MAX_SHARES`].
    pub fn point(&self) -> u8 {
        self.0.expose()[0]
    }

    /// The bytes, for whoever seals them.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// The key that whoever has this share has.
    pub fn key(&self) -> SigningKey {
        SigningKey::from_seed(&derive_from(self.expose(), label::RECOVERY_SHARE_KEY, b""))
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({}, hidden)", self.point())
    }
}

/// Splits a code into `count` shares, any `threshold` of which give it back. Point `n` stands at place `n - 1`.
///
/// # Errors
/// [`ShareError::Threshold`].
pub fn split(
    code: &RecoveryCode,
    threshold: u8,
    count: u8,
    random: &dyn Random,
) -> Result<Vec<Share>, ShareError> {
    let wrong = ShareError::Threshold { threshold, count };
    if count > MAX_SHARES || !(MIN_THRESHOLD..=count).contains(&threshold) {
        return Err(wrong);
    }
    let shares = scrubbed::<DEEP, _>(|| {
        let entropy = code.entropy();
        let mut chance = Chance::new(random);
        Gf256::split_bytes(threshold.into(), count.into(), entropy.expose(), &mut chance)
    });
    let shares = shares.map_err(|_| wrong)?;
    shares
        .into_iter()
        .map(|bytes| Share::parse(SecretBytes::new(bytes)))
        .collect()
}

/// The code that these shares give, if `threshold` is the one that they were made for and none of them is false: else
/// another code, or none.
///
/// # Errors
/// [`ShareError::Unfit`].
pub fn combine(shares: &[&Share], threshold: u8) -> Result<RecoveryCode, ShareError> {
    let wanted = usize::from(threshold.max(MIN_THRESHOLD));
    let used = shares.get(..wanted).ok_or(ShareError::Unfit)?;
    let mut rows: Vec<Vec<u8>> = used.iter().map(|share| share.expose().to_vec()).collect();
    let entropy = scrubbed::<DEEP, _>(|| Gf256::combine_bytes(&rows).map(SecretBytes::new));
    rows.iter_mut().for_each(wipe);
    let entropy = entropy.map_err(|_| ShareError::Unfit)?;
    RecoveryCode::from_entropy_bytes(entropy.expose()).ok_or(ShareError::Unfit)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Key;
    use crate::random::OsRandom;

    const TWELVE: &str = "legal winner thank year wave sausage worth useful legal winner thank yellow";

    fn node(code: &RecoveryCode) -> crate::NodeId {
        code.keys().root.public()
    }

    #[test]
    fn any_threshold_of_the_shares_gives_the_code_back_in_any_order() {
        for code in [
            RecoveryCode::parse(TWELVE).expect("valid"),
            RecoveryCode::generate(&OsRandom),
        ] {
            let shares = split(&code, 3, 5, &OsRandom).expect("split");
            for a in &shares {
                for b in &shares {
                    for c in &shares {
                        let combined = combine(&[a, b, c], 3);
                        if a == b || b == c || a == c {
                            assert_eq!(combined.err(), Some(ShareError::Unfit));
                        } else {
                            let combined = combined.expect("three of five");
                            assert_eq!(combined.words(), code.words());
                            assert_eq!(node(&combined), node(&code));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn fewer_shares_than_it_takes_give_nothing() {
        let code = RecoveryCode::generate(&OsRandom);
        let shares = split(&code, 3, 5, &OsRandom).expect("split");
        for few in [&[][..], &[&shares[0]], &[&shares[0], &shares[4]]] {
            assert_eq!(combine(few, 3).err(), Some(ShareError::Unfit));
        }
        // A thief who says that two are enough has a code of nobody.
        let other = combine(&[&shares[0], &shares[4]], 2).expect("some bytes");
        assert_ne!(node(&other), node(&code));
    }

    /// One share of two is as likely for one code as for any other: over all that chance can be, each value comes
    /// as often. The scheme works byte by byte, so that it is seen on one byte of two codes.
    #[test]
    fn one_share_of_two_says_nothing_about_the_code() {
        struct Fixed(u8);
        impl Random for Fixed {
            fn fill(&self, bytes: &mut [u8]) {
                bytes.fill(self.0);
            }
        }
        for byte in [0, 1, 0xa5] {
            let code = RecoveryCode::from_entropy(&Key::from_array([byte; 32]));
            for at in 0..2 {
                let mut seen = BTreeMap::new();
                for chance in 0..=255 {
                    let shares = split(&code, 2, 2, &Fixed(chance)).expect("split");
                    *seen.entry(shares[at].expose()[1]).or_insert(0) += 1;
                }
                assert_eq!(seen.len(), 256, "{byte} {at}");
            }
        }
    }

    #[test]
    fn thresholds_are_bounded() {
        let code = RecoveryCode::parse(TWELVE).expect("valid");
        for (threshold, count) in [(2, 2), (2, 16), (16, 16)] {
            let shares = split(&code, threshold, count, &OsRandom).expect("allowed");
            let points: Vec<u8> = shares.iter().map(Share::point).collect();
            assert_eq!(points, (1..=count).collect::<Vec<u8>>());
        }
        for (threshold, count) in [
            (0, 3),
            (1, 3),
            (4, 3),
            (2, 1),
            (0, 0),
            (2, 17),
            (17, 17),
            (255, 255),
        ] {
            let refused = split(&code, threshold, count, &OsRandom).err();
            assert_eq!(refused, Some(ShareError::Threshold { threshold, count }));
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        let bytes = |len: usize, point| {
            let mut bytes = vec![7; len];
            if let Some(first) = bytes.first_mut() {
                *first = point;
            }
            Share::parse(SecretBytes::new(bytes)).map(drop)
        };
        assert_eq!((bytes(17, 1), bytes(33, 16)), (Ok(()), Ok(())));
        for (len, point) in [
            (0, 0),
            (1, 1),
            (16, 1),
            (18, 1),
            (32, 1),
            (34, 1),
            (33, 0),
            (33, 17),
            (33, 255),
        ] {
            assert_eq!(bytes(len, point), Err(ShareError::Malformed), "{len} {point}");
        }
        let twelve = split(&RecoveryCode::parse(TWELVE).expect("valid"), 2, 2, &OsRandom).expect("split");
        let long = split(&RecoveryCode::generate(&OsRandom), 2, 2, &OsRandom).expect("split");
        assert_eq!(combine(&[&twelve[0], &long[1]], 2).err(), Some(ShareError::Unfit));
    }

    #[test]
    fn each_share_has_a_key_of_its_own_and_shows_nothing() {
        let code = RecoveryCode::generate(&OsRandom);
        let keys = code.keys();
        let shares = split(&code, 2, 3, &OsRandom).expect("split");
        let all: Vec<_> = shares.iter().map(|share| share.key().public()).collect();
        for (at, key) in all.iter().enumerate() {
            assert!(![keys.root.public(), keys.recovery.public()].contains(key));
            assert!(!all[at + 1..].contains(key));
            assert_eq!(shares[at].key().public(), *key, "the same for ever");
        }
        assert_eq!(format!("{:?}", shares[1]), "Share(2, hidden)");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn splits_of_all_shapes_come_together(
            entropy in any::<[u8; 32]>(), count in 2u8..=16, wanted in 2u8..=16, turn in 0usize..16,
        ) {
            let threshold = wanted.min(count);
            let code = RecoveryCode::from_entropy(&Key::from_array(entropy));
            let shares = split(&code, threshold, count, &OsRandom).expect("allowed");
            let mut some: Vec<&Share> = shares.iter().collect();
            some.rotate_left(turn % usize::from(count));
            prop_assert_eq!(combine(&some, threshold).expect("enough").words(), code.words());
            // One false byte anywhere gives another code.
            let mut bytes = some[0].expose().to_vec();
            let at = 1 + turn % 32;
            bytes[at] ^= 1;
            let torn = Share::parse(SecretBytes::new(bytes)).expect("a share's shape");
            some[0] = &torn;
            prop_assert_ne!(combine(&some, threshold).expect("some bytes").words(), code.words());
        }
    }
}
