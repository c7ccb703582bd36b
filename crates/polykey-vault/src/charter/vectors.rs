//! Frozen charter entries: one of each kind, made from fixed keys and fixed chance.
//!
//! Whoever changes a byte here changes what lies on users' disks and what other nodes accept. Old bytes stay
//! and must stay readable; a new version gets new rows.

use data_encoding::HEXLOWER;

use polykey_core::id::ObjectId;
use polykey_core::statement::Statement;

use super::cast::{Person, chance, cut, time};
use super::{Body, Charter, Entry, Role};

/// One a line: name, id, bytes of the signed statement.
const FROZEN: &str = include_str!("../../tests/vectors/charter.txt");

/// One entry of each kind, in an order in which each follows its parents.
fn made() -> Vec<(&'static str, Statement)> {
    let [a, b, k, mut c, new] = [1, 2, 3, 4, 5].map(Person::new);
    let mut charter = a.found(1);
    let mut order = vec![charter.genesis().id()];
    order.push(a.grants(&mut charter, &b, Role::Writer));
    order.push(a.grants(&mut charter, &k, Role::Keeper));
    order.push(a.grants(&mut charter, &c, Role::Admin));
    order.push(a.revokes(&mut charter, &b, &[cut(1, 7, 8), cut(2, 1, 9)]));
    order.push(c.succeeds(&mut charter, &new, &[cut(3, 2, 4)]));
    let objects = [ObjectId::from_bytes([1; 32]), ObjectId::from_bytes([2; 32])];
    let held = a.open(&charter);
    let (chance_here, note) = (chance(&charter), b"before 2026".as_slice());
    let purge = charter.purge(&a.root, &held, &objects, true, note, (time(7), &chance_here));
    let purge = purge.unwrap();
    order.push(purge.id());
    charter.insert(purge).unwrap();
    c = Person::new(5);
    c.device = Person::new(6).device;
    c.number = 1;
    order.push(a.rekeys(&mut charter, &[(new.node(), c.device_key())]));
    let leave = charter.remove_self(&k.root, &[], time(8)).unwrap();
    order.push(leave.id());
    charter.insert(leave).unwrap();
    let names = [
        "genesis", "grant", "keeper", "admin", "revoke", "succeed", "purge", "rekey", "leave",
    ];
    names
        .into_iter()
        .zip(order)
        .map(|(name, id)| (name, charter.entry(&id).unwrap().statement().clone()))
        .collect()
}

fn rows() -> Vec<(&'static str, String, Vec<u8>)> {
    let rows = FROZEN.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("three words");
        let (name, id, text) = (word(), word(), word());
        (name, id.to_string(), HEXLOWER.decode(text.as_bytes()).unwrap())
    })
    .collect()
}

#[test]
fn every_kind_of_entry_is_made_as_it_was() {
    let made: Vec<_> = made()
        .into_iter()
        .map(|(name, statement)| {
            format!(
                "{name} {} {}",
                statement.id(),
                HEXLOWER.encode(statement.as_bytes())
            )
        })
        .collect();
    let frozen: Vec<_> = FROZEN.lines().filter(|line| !line.starts_with('#')).collect();
    for (now, then) in made.iter().zip(&frozen) {
        let name = now.split(' ').next().unwrap();
        assert!(
            now == then,
            "the entry {name} is made with other bytes than before"
        );
    }
    assert_eq!(made.len(), frozen.len());
}

#[test]
fn frozen_entries_are_read_and_opened() {
    let rows = rows();
    let mut statements = rows.into_iter().map(|(name, id, bytes)| {
        let entry = Entry::verify(bytes).unwrap();
        assert_eq!(entry.id().to_string(), id, "{name}");
        (name, entry)
    });
    let (_, genesis) = statements.next().unwrap();
    let mut charter = Charter::found(genesis.statement().clone()).unwrap();
    let (mut kinds, mut purge) = (vec![genesis.body().name()], None);
    for (name, entry) in statements {
        charter.insert(entry.statement().clone()).unwrap();
        kinds.push(entry.body().name());
        if name == "purge" {
            purge = Some(entry.id());
        }
        if name == "revoke" {
            let Body::Revoke { cut_offs, .. } = entry.body() else {
                panic!("a revoke")
            };
            assert_eq!(cut_offs, &[cut(1, 7, 8), cut(2, 1, 9)]);
        }
    }
    assert_eq!(
        kinds,
        [
            "genesis", "grant", "grant", "grant", "revoke", "succeed", "purge", "rekey", "revoke"
        ]
    );
    let a = Person::new(1).open(&charter);
    assert_eq!(a.len(), 3, "three epochs");
    assert_eq!(Person::new(5).open_with_code(&charter).len(), 3);
    let note = charter.purge_note(&purge.unwrap(), &a).unwrap();
    assert_eq!(note.expose(), b"before 2026");
    let key = a.commit_key(&charter, &charter.heads()).unwrap();
    let text = FROZEN
        .lines()
        .find_map(|line| line.strip_prefix("# commit key: "));
    assert_eq!(
        Some(HEXLOWER.encode(key.expose()).as_str()),
        text,
        "the derived key is frozen, too"
    );
}
