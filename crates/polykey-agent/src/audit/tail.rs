//! The tail file: sealed records that wait for their place in the database.
//!
//! It only grows at its end, so a killed agent leaves all that it appended, and at worst half a frame.

use std::fs::File;
use std::io::{Read, Write};

use polykey_core::hash::HASH_LEN;
use polykey_core::random::OsRandom;
use polykey_core::{Key, aead, label};

use super::record::{Head, chain};

/// A longer tail is not ours.
const MAX_TAIL: u64 = 256 << 20;

/// `length (4) || number (8) || sealed record`, as it stands in the tail.
pub fn frame(tail_key: &Key, seq: u64, value: &[u8]) -> Vec<u8> {
    let place = seq.to_be_bytes();
    let sealed = aead::seal(tail_key, label::AUDIT_TAIL, &place, value, &OsRandom);
    let len = u32::try_from(sealed.len()).expect("records are bounded");
    [&len.to_be_bytes()[..], &place, &sealed].concat()
}

/// Appends `frame`, or nothing: half of one would hide those behind it.
pub fn append_whole(tail: &mut File, frame: &[u8]) -> std::io::Result<()> {
    let before = tail.metadata()?.len();
    tail.write_all(frame).inspect_err(|_| {
        // When this fails as well, the records are still in the queue for the database.
        let _ = tail.set_len(before);
    })
}

/// Takes what the tail holds beyond `last` into `queue`, and cuts off what comes behind the last good record,
/// since it would hide those that are appended from now on. False when the tail holds something else as well; a
/// cut at its very end is what a power failure leaves, and is no such thing.
pub fn read_tail(
    file: &mut File,
    tail_key: &Key,
    key: &Key,
    last: &mut Head,
    queue: &mut Vec<(u64, Vec<u8>)>,
) -> std::io::Result<bool> {
    let mut bytes = Vec::new();
    (&mut *file).take(MAX_TAIL).read_to_end(&mut bytes)?;
    let mut rest = &bytes[..];
    let mut whole = (rest.len() as u64) < MAX_TAIL;
    while let Some((head, after)) = rest.split_first_chunk::<12>() {
        let (len, place) = head.split_first_chunk::<4>().expect("4 of 12");
        let seq = u64::from_be_bytes(place.try_into().expect("8 of 12"));
        let Some((sealed, after)) = after.split_at_checked(u32::from_be_bytes(*len) as usize) else {
            break;
        };
        let Ok(value) = aead::open(tail_key, label::AUDIT_TAIL, place, sealed) else {
            whole = false;
            break;
        };
        // Stored already, when the end came before the tail was cut.
        if seq <= last.seq {
            rest = after;
            continue;
        }
        let Some((hash, record)) = value.expose().split_first_chunk::<HASH_LEN>() else {
            whole = false;
            break;
        };
        // A record that is missing in between does not fit the chain either.
        if seq != last.seq + 1 || chain(key, &last.hash, record) != *hash {
            whole = false;
            break;
        }
        *last = Head { seq, hash: *hash };
        queue.push((seq, value.expose().to_vec()));
        rest = after;
    }
    file.set_len((bytes.len() - rest.len()) as u64)?;
    Ok(whole)
}
