//! `docs/format.md` says what the code does: its table of labels, and the lengths that it names.

use polykey_core::{key_file, label, padme, sealing, statement, user_box};

const PAGE: &str = include_str!("../../../../docs/format.md");

/// The rows of the label table, as they must stand on the page.
fn rows() -> Vec<String> {
    label::ALL
        .iter()
        .map(|(_, label, purpose)| {
            let text = std::str::from_utf8(label.as_bytes()).expect("labels are ASCII");
            let purpose = purpose.trim().trim_end_matches('.').replace("->", "→");
            format!("| `{}` | {purpose} |", text.trim_end_matches('\0'))
        })
        .collect()
}

#[test]
fn the_label_table_is_the_one_in_the_code() {
    let rows = rows();
    let missing: Vec<_> = rows.iter().filter(|row| !PAGE.contains(row.as_str())).collect();
    assert!(
        missing.is_empty(),
        "docs/format.md lacks these rows of its label table:\n{}",
        missing
            .iter()
            .map(|row| row.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    );
    let stale: Vec<_> = PAGE
        .lines()
        .filter(|line| line.starts_with("| `polykey/v1/"))
        .filter(|line| !rows.iter().any(|row| row == line))
        .collect();
    assert!(
        stale.is_empty(),
        "docs/format.md has rows that are in no code: {stale:?}"
    );
}

#[test]
fn the_numbers_on_the_page_are_those_in_the_code() {
    for sentence in [
        format!("public key ({} bytes)", sealing::PUBLIC_LEN),
        format!("encapsulated key ({} bytes)", sealing::ENCAPSULATED_LEN),
        format!("at most {} bytes", key_file::MAX_KEY_FILE_LEN),
        format!("at most {} signatures", statement::MAX_SIGNATURES),
        format!("at least {} bytes", padme::MIN_PADDED),
        format!("header of {} bytes", user_box::HEADER_LEN),
        format!("chunks of {} bytes", user_box::CHUNK_LEN),
        format!("at most {} deep", polykey_core::codec::MAX_DEPTH),
        format!("payload has at most {} bytes", statement::MAX_PAYLOAD_LEN),
    ] {
        assert!(PAGE.contains(&sentence), "{sentence:?}");
    }
}
