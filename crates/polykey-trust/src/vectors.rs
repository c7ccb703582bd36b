//! Frozen bytes: one of each claim, a link, the lines for pages and the words, made from fixed keys.
//!
//! Whoever changes a byte here changes what stands in sigchains and on pages. Old bytes stay and must stay
//! readable; a new version gets new rows.

use data_encoding::HEXLOWER;
use polykey_core::StatementId;
use polykey_core::statement::{Kind, Statement};

use crate::armour::{find, line, short_line};
use crate::cast::{Person, link, proposal, time};
use crate::claim::{Body, Claim, Place};
use crate::link::{Link, LinkType, Proposal};
use crate::words::words;

/// One a line: name, and hex of the bytes, or text.
const FROZEN: &str = include_str!("../tests/vectors/trust.txt");

fn claims() -> Vec<(&'static str, Claim)> {
    let [a, b, old] = [1, 2, 3].map(Person::new);
    let place = Place {
        number: 1,
        previous: StatementId::from_bytes([1; 32]),
    };
    let bodies = [
        (
            "device",
            Body::Link(Box::new(link(LinkType::Device, &a, &b, 1))),
            false,
        ),
        (
            "link-node",
            Body::Link(Box::new(link(LinkType::Node, &b, &a, 2))),
            false,
        ),
        (
            "link-identity",
            Body::Identity("github.com:alice".parse().unwrap()),
            false,
        ),
        ("key-record", Body::KeyRecord(Box::new(a.record(1))), false),
        ("revoke", Body::Revoke(StatementId::from_bytes([2; 32])), false),
        (
            "revoke-by-recovery",
            Body::Revoke(StatementId::from_bytes([2; 32])),
            true,
        ),
        ("device-removed", Body::DeviceRemoved(b.node()), false),
        ("resume", Body::Resume, true),
        (
            "succeed",
            Body::Succeed(Box::new(old.rotation_to(&a, place))),
            false,
        ),
    ];
    let mut claims: Vec<_> = bodies
        .iter()
        .map(|(name, body, second)| {
            let recovery = second.then_some(&a.keys.recovery);
            (
                *name,
                Claim::sign(&a.keys.root, recovery, place, time(4), body).unwrap(),
            )
        })
        .collect();
    claims.push(("start", a.start().into()));
    claims.push(("rotate", a.rotation_to(&b, place).into()));
    claims
}

fn made() -> Vec<String> {
    let [a, b] = [1, 2].map(Person::new);
    let claims = claims();
    let mut rows: Vec<_> = claims
        .iter()
        .map(|(name, claim)| format!("{name} {}", HEXLOWER.encode(claim.as_bytes())))
        .collect();
    let half = proposal(LinkType::Device, &a, &b, 1);
    rows.push(format!("proposal {}", HEXLOWER.encode(half.as_bytes())));
    rows.push(format!(
        "link {}",
        HEXLOWER.encode(link(LinkType::Device, &a, &b, 1).as_bytes())
    ));
    let identity = &claims[2].1;
    rows.push(format!("line {}", line(identity)));
    rows.push(format!("short-line {}", short_line(identity)));
    rows.push(format!(
        "words {}",
        words(&a.node(), &b.node()).unwrap().join("-")
    ));
    rows
}

fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = FROZEN.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| line.split_once(' ').expect("two words"))
}

#[test]
fn everything_is_made_as_it_was() {
    let frozen: Vec<_> = FROZEN.lines().filter(|line| !line.starts_with('#')).collect();
    let made = made();
    assert_eq!(made.len(), frozen.len(), "{}", made.join("\n"));
    for (now, then) in made.iter().zip(&frozen) {
        assert_eq!(now, then);
    }
}

#[test]
fn old_bytes_stay_readable() {
    for (name, text) in rows() {
        let bytes = || HEXLOWER.decode(text.as_bytes()).unwrap();
        match name {
            "link" => assert!(Link::verify(bytes()).is_ok()),
            "proposal" => assert!(Proposal::verify(bytes()).is_ok()),
            "line" | "short-line" => {
                let page = find(text).unwrap();
                assert_eq!(page.node, Person::new(1).node());
            }
            "words" => assert_eq!(text.split('-').count(), crate::words::WORDS),
            _ => {
                let claim = Claim::verify(bytes()).unwrap();
                assert_eq!(claim.body().name(), name.trim_end_matches("-by-recovery"));
                let statement = Statement::verify(Kind::Claim, bytes()).unwrap();
                assert_eq!(statement.id(), claim.id());
            }
        }
    }
}
