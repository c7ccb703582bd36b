//! The page about the [attacks](super): `docs/attacks.md` says what is tried, and what becomes of it.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::TOPICS;

/// What an attacker does, and the names of the attacks that do it. Not each one is of a family, and some are of two.
const FAMILIES: &[(&str, &[&str])] = &[
    (
        "an entry is dropped or repeated",
        &[
            "drop the start, for a reader who never saw the chain",
            "drop the second entry",
            "drop an entry in the middle",
            "send an entry twice",
            "send the last entry twice",
            "send the start twice",
            "send an entry without those before it",
            "send nothing",
        ],
    ),
    (
        "the chain is reordered",
        &[
            "swap two entries",
            "swap the last two",
            "reverse the chain",
            "send the start at the end",
        ],
    ),
    (
        "the chain is truncated",
        &[
            "truncate the chain",
            "truncate it to its start",
            "truncate it on the way, through another node",
        ],
    ),
    (
        "the chain is forked",
        &[
            "fork at the end",
            "fork right behind the start",
            "fork and be longer",
            "fork and be as long",
            "fork by an entry that differs in nothing but its time",
            "fork on the way, through another node",
            "fork to a device of his",
            "fork where he undoes a link",
            "begin anew with a recovery key of his",
            "bring a device in before she named a successor",
            "go on with the branch that she left",
        ],
    ),
    (
        "a claim is replayed to another issuer",
        &[
            "send the chain of another node",
            "splice another node's entry in",
            "put another node's start before the entries",
            "show her chain as his own",
            "put her entry behind his own",
            "put her key record into his chain",
            "put her rotation into his chain",
            "carry her line under his node",
            "use the invitation of another",
            "bring the proposal of another",
        ],
    ),
    (
        "one type passes for another",
        &[
            "name another kind of statement",
            "use what she signed as a commit",
            "use what she signed as a link",
            "use her link as an entry",
            "use her key record as an entry",
            "use a proposal of hers as an entry",
            "use an entry of hers as a proposal or a link",
            "use an entry of hers as a rotation",
            "use a whole link as a proposal, and half a link as one",
            "make up a type of claim",
            "make a device link of a friend's",
            "carry another type of claim",
            "propose to be our device when invited as a friend",
            "propose to be a friend when invited as a device",
        ],
    ),
    (
        "the predecessor is foreign or wrong",
        &[
            "follow a foreign predecessor",
            "follow an entry further back",
            "follow nothing",
            "skip a number",
            "be number 0 without being a start",
        ],
    ),
    (
        "a link is one-sided",
        &[
            "show a link that she never signed",
            "let his puppet sign in her place",
            "show a link that she signed and did not keep",
            "show a device link that she signed and did not keep",
            "claim her account without a page",
            "hang his own account onto her gestalt",
            "say that she is his successor",
        ],
    ),
    (
        "a link names a third",
        &[
            "show her link as his own",
            "show a link of hers with his puppet as his own",
            "show a link of his that names a third instead of her",
            "let us sign between two others",
            "say that he is her successor, by her rotation to another",
            "be linked with himself",
        ],
    ),
    (
        "what was revoked is shown again",
        &[
            "keep a link that she revoked",
            "show a link after she revoked it",
            "put a revoked link back into her chain",
            "undo her revocation of a link",
            "come back with the tablet that she removed",
            "bring his node in by the tablet that she removed",
            "keep the page of a claim that she revoked",
            "bring an old key record back",
            "use an invitation that was taken back",
            "take her account over with a claim that he took back",
        ],
    ),
    (
        "an account is taken over",
        &[
            "take her account over",
            "take her account over and give it back",
            "take her account over with a claim that he took back",
            "take her account over with a claim of another account",
            "take her account over and delete the page",
            "take her account over and empty the page",
            "put a second claim on her page",
        ],
    ),
];

/// The page behind its introduction.
fn tables() -> String {
    let mut page = String::from("| what is done | attacks |\n| --- | --- |\n");
    for (family, names) in FAMILIES {
        let _ = writeln!(page, "| {family} | {} |", names.len());
    }
    for (topic, attacks) in TOPICS {
        let _ = write!(
            page,
            "\n## {topic}: {}\n\n| attack | end |\n| --- | --- |\n",
            attacks.len()
        );
        for (name, end, _) in attacks {
            let _ = writeln!(page, "| {name} | {} |", end.as_str());
        }
    }
    page
}

#[test]
fn the_page_lists_every_attack_and_what_becomes_of_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/attacks.md");
    let page = std::fs::read_to_string(path).expect("the page is there");
    let count: usize = TOPICS.iter().map(|(_, attacks)| attacks.len()).sum();
    assert!(page.contains(&format!("These {count} attacks")), "{count} in all");
    let want = tables();
    let shown = page.find("| what is done").map_or("", |at| &page[at..]);
    assert_eq!(shown, want, "docs/attacks.md should end so:\n{want}");
}

#[test]
fn each_attack_is_here_once_and_families_name_what_is_there() {
    let all: Vec<&str> = TOPICS
        .iter()
        .flat_map(|(_, attacks)| attacks.iter().map(|attack| attack.0))
        .collect();
    let names: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(names.len(), all.len());
    for (family, of) in FAMILIES {
        for name in *of {
            assert!(names.contains(name), "{family}: {name}");
        }
        assert_eq!(of.iter().collect::<BTreeSet<_>>().len(), of.len(), "{family}");
    }
}
