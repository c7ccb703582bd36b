//! The page on exit codes says what the table in the code says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use polykey_api::Code;

/// The rows of the first table of the page: code and meaning.
fn rows() -> BTreeMap<u8, String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/exit-codes.md");
    let text = std::fs::read_to_string(page).expect("the page is there");
    text.lines()
        .filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            Some((cells.next()?.parse().ok()?, cells.next()?.to_owned()))
        })
        .collect()
}

#[test]
fn the_page_lists_every_exit_code_and_no_other() {
    let rows = rows();
    let written: BTreeSet<u8> = rows.keys().copied().collect();
    let mut known: BTreeSet<u8> = Code::ALL.iter().map(|code| code.exit()).collect();
    // Done, and done in part: neither is an error.
    known.extend([0, 1]);
    assert_eq!(written, known);
    for (code, meaning) in &rows {
        assert!(meaning.len() > 3, "{code} says nothing");
    }
}

#[test]
fn the_page_says_what_each_code_is_for() {
    let rows = rows();
    for (code, words) in [
        (Code::Usage, "usage"),
        (Code::BadData, "damaged"),
        (Code::VaultNotFound, "vault"),
        (Code::SecretNotFound, "secret"),
        (Code::VersionNotFound, "version"),
        (Code::NodeNotFound, "node"),
        (Code::NodeUnreachable, "reached"),
        (Code::NoAgent, "agent"),
        (Code::Internal, "internal"),
        (Code::Exists, "exists"),
        (Code::Io, "disk"),
        (Code::Busy, "busy"),
        (Code::Protocol, "protocol"),
        (Code::WrongPassword, "password"),
        (Code::Locked, "locked"),
        (Code::Config, "configuration"),
    ] {
        let meaning = &rows[&code.exit()];
        assert!(meaning.contains(words), "{code:?}: {meaning}");
    }
}
