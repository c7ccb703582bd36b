//! One record: how its key is hidden and its value sealed.
//!
//! The hidden key is 32 bytes: 16 of a keyed hash of table and group, then 16 of a keyed hash of the item
//! in that group, so that the items of a group stand side by side. The value is padded ([Padme](padme))
//! and sealed with the hidden key as associated data: no two records can be swapped.
//!
//! Layouts are in `docs/format.md`, section "Store".

use polykey_core::aead::{self, NONCE_LEN, TAG_LEN};
use polykey_core::hash::keyed_hash;
use polykey_core::random::{Random, random_array};
use polykey_core::{Key, SecretBytes, kdf, label, padme};
use zeroize::Zeroizing;

use crate::error::{Damage, StoreError};
use crate::multiset::Sum;

/// Longest group or item, in bytes.
pub const MAX_KEY_LEN: usize = 0xffff;
/// Longest value, in bytes.
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Length of a hidden key.
pub(crate) const HIDDEN_LEN: usize = 32;
/// Length of the group's half of it.
pub(crate) const GROUP_LEN: usize = 16;
/// Nonce and tag: what tells one sealing of a value from all others.
pub(crate) const SEAL_LEN: usize = NONCE_LEN + TAG_LEN;
/// The two lengths at the end of what is sealed.
const TRAILER_LEN: usize = 6;
/// Longest sealed value in the file.
pub(crate) const MAX_SEALED_LEN: usize = 20 << 20;

/// Longest sealed value that stands in the ordered table itself: with key, seal and SQLite's own 5 bytes it
/// stays below the 1,002 bytes that an ordered table of 4 KiB pages keeps in one piece.
pub(crate) const MAX_INLINE_LEN: usize = 896;

/// A logical table: a number that separates one use of the database from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(u16);

impl Table {
    /// The table with this number. Numbers are part of the format: they never change their meaning.
    pub const fn new(number: u16) -> Self {
        Table(number)
    }
}

/// The hidden key of one group: the front half of the hidden keys of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupKey(pub(crate) [u8; GROUP_LEN]);

/// The hidden key of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RecordKey(pub(crate) [u8; HIDDEN_LEN]);

/// How many buckets the records are divided into, by the first 12 bits of their hidden keys.
pub(crate) const BUCKETS: u16 = 4096;

impl GroupKey {
    pub(crate) fn bucket(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]]) >> 4
    }

    /// The lowest and the highest hidden key of the group.
    pub(crate) fn range(&self) -> ([u8; HIDDEN_LEN], [u8; HIDDEN_LEN]) {
        let (mut low, mut high) = ([0; HIDDEN_LEN], [0xff; HIDDEN_LEN]);
        low[..GROUP_LEN].copy_from_slice(&self.0);
        high[..GROUP_LEN].copy_from_slice(&self.0);
        (low, high)
    }
}

impl RecordKey {
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(RecordKey)
    }

    pub(crate) fn bucket(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]]) >> 4
    }

    pub(crate) fn damage(&self) -> Damage {
        use std::fmt::Write;
        let key = self.0[..8].iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes all");
            text
        });
        Damage::Record { key }
    }
}

/// The lowest and the highest hidden key of a bucket.
pub(crate) fn bucket_range(bucket: u16) -> ([u8; HIDDEN_LEN], [u8; HIDDEN_LEN]) {
    let (mut low, mut high) = ([0; HIDDEN_LEN], [0xff; HIDDEN_LEN]);
    low[..2].copy_from_slice(&(bucket << 4).to_be_bytes());
    high[..2].copy_from_slice(&(bucket << 4 | 0xf).to_be_bytes());
    (low, high)
}

/// A sealed value: nonce and tag in front, the ciphertext apart.
pub(crate) struct SealedValue {
    pub(crate) seal: [u8; SEAL_LEN],
    pub(crate) body: Vec<u8>,
}

/// What is in a record: the value, the item behind it, and padding, wiped on drop.
pub(crate) struct Opened {
    plain: Zeroizing<Vec<u8>>,
    value_len: usize,
    item_len: usize,
}

impl Opened {
    /// The plaintext with its lengths taken from its end; `None` when they do not fit.
    fn parse(plain: Zeroizing<Vec<u8>>, len: usize) -> Option<Self> {
        let (content, trailer) = plain.get(..len)?.split_last_chunk::<TRAILER_LEN>()?;
        let (item_len, value_len) = trailer.split_first_chunk::<2>()?;
        let item_len = usize::from(u16::from_be_bytes(*item_len));
        let value_len = usize::try_from(u32::from_be_bytes(value_len.try_into().ok()?)).ok()?;
        content.get(value_len..)?.get(..item_len)?;
        Some(Opened {
            plain,
            value_len,
            item_len,
        })
    }

    pub(crate) fn item(&self) -> &[u8] {
        &self.plain[self.value_len..][..self.item_len]
    }

    pub(crate) fn into_value(mut self) -> SecretBytes {
        self.plain.truncate(self.value_len);
        SecretBytes::new(std::mem::take(&mut *self.plain))
    }
}

/// The keys of one database, all derived from the one that its owner holds.
pub(crate) struct Keys {
    record: Key,
    index: Key,
    pub(crate) state: Key,
}

impl Keys {
    /// `id` is the random id in the database's header, so that two databases made with the same key have
    /// nothing in common.
    pub(crate) fn derive(key: &Key, id: &[u8; 16]) -> Self {
        Keys {
            record: kdf::derive(key, label::STORE_RECORD, id),
            index: kdf::derive(key, label::STORE_INDEX, id),
            state: kdf::derive(key, label::STORE_STATE, id),
        }
    }

    /// Tells a wrong key from a damaged database.
    pub(crate) fn check_value(&self) -> [u8; 32] {
        keyed_hash(&self.state, label::STORE_KEY_CHECK, &[])
    }

    pub(crate) fn group(&self, table: Table, group: &[u8]) -> Result<GroupKey, StoreError> {
        check_len("the group", group.len(), MAX_KEY_LEN)?;
        let hash = keyed_hash(&self.index, label::STORE_GROUP, &[&table.0.to_be_bytes(), group]);
        Ok(GroupKey(cut(&hash)))
    }

    pub(crate) fn record(&self, group: GroupKey, item: &[u8]) -> Result<RecordKey, StoreError> {
        check_len("the item", item.len(), MAX_KEY_LEN)?;
        let hash = keyed_hash(&self.index, label::STORE_ITEM, &[&group.0, item]);
        let mut key = [0; HIDDEN_LEN];
        key[..GROUP_LEN].copy_from_slice(&group.0);
        key[GROUP_LEN..].copy_from_slice(&cut::<GROUP_LEN>(&hash));
        Ok(RecordKey(key))
    }

    /// The hash of one record in the multiset of its bucket. Nonce and tag stand for the value: whoever
    /// lacks the key cannot make another value that opens with them.
    pub(crate) fn member(&self, key: &RecordKey, seal: &[u8; SEAL_LEN]) -> Sum {
        Sum::from_bytes(&keyed_hash(&self.state, label::STORE_MULTISET, &[&key.0, seal]))
    }

    /// Seals `value`, and `item` with it. Both lengths were checked.
    pub(crate) fn seal(
        &self,
        key: &RecordKey,
        item: &[u8],
        value: &[u8],
        random: &dyn Random,
    ) -> Result<SealedValue, StoreError> {
        check_len("the item", item.len(), MAX_KEY_LEN)?;
        check_len("the value", value.len(), MAX_VALUE_LEN)?;
        let padded = padded_len(item.len() + value.len() + TRAILER_LEN);
        // Never grows, so no plaintext is left behind in a smaller allocation; sealed where it lies.
        let mut body = Vec::with_capacity(padded);
        body.extend_from_slice(value);
        body.extend_from_slice(item);
        body.resize(padded - TRAILER_LEN, 0);
        body.extend_from_slice(&u16::try_from(item.len()).expect("checked above").to_be_bytes());
        body.extend_from_slice(&u32::try_from(value.len()).expect("checked above").to_be_bytes());
        let nonce = random_array::<NONCE_LEN>(random);
        let tag = aead::seal_in_place(&self.record, &nonce, &record_aad(key), &mut body);
        Ok(SealedValue {
            seal: join_seal(&nonce, &tag),
            body,
        })
    }

    /// Opens what [`Keys::seal`] made for the same key; `None` when it does not open.
    pub(crate) fn open(&self, key: &RecordKey, seal: &[u8], body: &[u8]) -> Option<Opened> {
        let (nonce, tag) = seal.split_first_chunk::<NONCE_LEN>()?;
        if tag.len() != TAG_LEN || body.len() > MAX_SEALED_LEN {
            return None;
        }
        let mut plain = Zeroizing::new(Vec::with_capacity(body.len() + TAG_LEN));
        plain.extend_from_slice(body);
        plain.extend_from_slice(tag);
        let len = aead::open_in_place(&self.record, nonce, &record_aad(key), &mut plain).ok()?;
        Opened::parse(plain, len)
    }
}

fn check_len(what: &'static str, len: usize, limit: usize) -> Result<(), StoreError> {
    if len > limit {
        return Err(StoreError::TooLong { what, len, limit });
    }
    Ok(())
}

/// The length to which `len` bytes are padded before sealing.
pub(crate) fn padded_len(len: usize) -> usize {
    usize::try_from(padme::padded_len(len as u64)).expect("a little more than a length in memory")
}

pub(crate) fn join_seal(nonce: &[u8; NONCE_LEN], tag: &[u8; TAG_LEN]) -> [u8; SEAL_LEN] {
    let mut seal = [0; SEAL_LEN];
    seal[..NONCE_LEN].copy_from_slice(nonce);
    seal[NONCE_LEN..].copy_from_slice(tag);
    seal
}

fn record_aad(key: &RecordKey) -> Vec<u8> {
    [label::STORE_RECORD_AAD.as_bytes(), &key.0].concat()
}

fn cut<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    *hash.first_chunk().expect("N is at most 32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use polykey_core::random::OsRandom;

    fn keys() -> Keys {
        Keys::derive(&Key::from_array([1; 32]), &[2; 16])
    }

    fn key_of(table: u16, group: &[u8], item: &[u8]) -> RecordKey {
        let group = keys().group(Table::new(table), group).expect("short");
        keys().record(group, item).expect("short")
    }

    #[test]
    fn records_come_back_whatever_their_lengths() {
        let key = key_of(1, b"g", b"i");
        for (item, value) in [
            (0, 0),
            (0, 1),
            (1, 0),
            (250, 0),
            (0, 250),
            (0, 251),
            (255, 5000),
            (65535, 9),
        ] {
            let (item, value) = (vec![7; item], vec![9; value]);
            let sealed = keys().seal(&key, &item, &value, &OsRandom).expect("fits");
            assert_eq!(
                sealed.body.len(),
                padded_len(item.len() + value.len() + TRAILER_LEN)
            );
            let opened = keys().open(&key, &sealed.seal, &sealed.body).expect("opens");
            assert_eq!(opened.item(), item);
            assert_eq!(opened.into_value().expose(), value);
        }
    }

    #[test]
    fn short_records_all_have_one_length() {
        let lens: std::collections::BTreeSet<usize> = (0..=250)
            .map(|len| {
                let sealed = keys().seal(&key_of(1, b"", b""), b"", &vec![0; len], &OsRandom);
                sealed.expect("fits").body.len()
            })
            .collect();
        assert_eq!(lens, [256].into());
    }

    #[test]
    fn a_record_opens_in_its_own_place_only() {
        let key = key_of(1, b"g", b"i");
        let sealed = keys().seal(&key, b"i", b"v", &OsRandom).expect("fits");
        for other in [
            key_of(2, b"g", b"i"),
            key_of(1, b"h", b"i"),
            key_of(1, b"g", b"j"),
        ] {
            assert!(keys().open(&other, &sealed.seal, &sealed.body).is_none());
        }
        let stranger = Keys::derive(&Key::from_array([1; 32]), &[3; 16]);
        assert!(stranger.open(&key, &sealed.seal, &sealed.body).is_none());
    }

    #[test]
    fn no_changed_bit_and_no_wrong_length_opens() {
        let key = key_of(1, b"g", b"i");
        let sealed = keys().seal(&key, b"i", b"v", &OsRandom).expect("fits");
        for bit in 0..SEAL_LEN * 8 {
            let mut seal = sealed.seal;
            seal[bit / 8] ^= 1 << (bit % 8);
            assert!(
                keys().open(&key, &seal, &sealed.body).is_none(),
                "bit {bit} of the seal"
            );
        }
        for bit in 0..sealed.body.len() * 8 {
            let mut body = sealed.body.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(
                keys().open(&key, &sealed.seal, &body).is_none(),
                "bit {bit} of the body"
            );
        }
        for len in 0..SEAL_LEN {
            assert!(keys().open(&key, &sealed.seal[..len], &sealed.body).is_none());
        }
        for len in 0..sealed.body.len() {
            assert!(keys().open(&key, &sealed.seal, &sealed.body[..len]).is_none());
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let key = key_of(1, b"g", b"i");
        let long = vec![0; MAX_KEY_LEN + 1];
        assert!(keys().group(Table::new(1), &long).is_err());
        assert!(keys().seal(&key, &long, b"", &OsRandom).is_err());
        assert!(
            keys()
                .seal(&key, b"", &vec![0; MAX_VALUE_LEN + 1], &OsRandom)
                .is_err()
        );
        let largest = keys()
            .seal(&key, &long[1..], &vec![0; MAX_VALUE_LEN], &OsRandom)
            .expect("fits");
        assert!(largest.body.len() <= MAX_SEALED_LEN);
    }

    #[test]
    fn buckets_are_cut_by_the_first_twelve_bits() {
        for bucket in [0, 1, 0x7ff, 0xfff] {
            let (low, high) = bucket_range(bucket);
            assert_eq!(
                (RecordKey(low).bucket(), RecordKey(high).bucket()),
                (bucket, bucket)
            );
        }
        let group = keys().group(Table::new(1), b"g").expect("short");
        assert_eq!(group.bucket(), key_of(1, b"g", b"i").bucket());
    }
}
