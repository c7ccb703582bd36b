//! BLAKE3-256: the official vectors of the library, and that our hashes are BLAKE3 of label and parts.

use polykey_core::hash::{Hasher, hash, keyed_hash};
use polykey_core::{Key, label};

use crate::{hex_of, json, list, text};

fn input(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn official_vectors() {
    let data = json(include_str!("data/blake3.json"));
    let key: [u8; 32] = text(&data, "key").as_bytes().try_into().expect("32 characters");
    for case in list(&data, "cases") {
        let len = case["input_len"].as_u64().expect("a number") as usize;
        let want: [u8; 32] = hex_of(text(case, "hash"));
        assert_eq!(blake3::hash(&input(len)).as_bytes(), &want, "{len}");
        let want: [u8; 32] = hex_of(text(case, "keyed_hash"));
        assert_eq!(blake3::keyed_hash(&key, &input(len)).as_bytes(), &want, "{len}");
    }
}

#[test]
fn ours_is_blake3_of_label_and_parts() {
    let label = label::OBJECT;
    for len in [0, 1, 63, 64, 1024, 5000] {
        let input = input(len);
        let (front, back) = input.split_at(len / 3);
        let joined = [label.as_bytes(), &input].concat();
        let want = *blake3::hash(&joined).as_bytes();
        assert_eq!(hash(label, &[front, back]), want);
        let mut hasher = Hasher::new(label);
        hasher.update(front);
        hasher.update(back);
        assert_eq!(hasher.finish(), want);
        let keyed = *blake3::keyed_hash(&[7; 32], &joined).as_bytes();
        assert_eq!(
            keyed_hash(&Key::from_array([7; 32]), label, &[front, back]),
            keyed
        );
    }
}
