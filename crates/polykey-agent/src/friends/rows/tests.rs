//! Rows come back as they were, also in the hands of somebody else.

use std::time::Duration;

use polykey_core::Key;
use polykey_core::random::OsRandom;
use polykey_core::recovery::RecoveryCode;
use polykey_core::sealing::EncryptionKey;
use polykey_core::share::split;
use polykey_store::StoreEnv;

use super::*;

struct Bench {
    _dir: tempfile::TempDir,
    db: Database,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let key = Key::random(&OsRandom);
    let db = Database::create(&dir.path().join("node.db"), &key, &StoreEnv::default());
    Bench {
        db: db.expect("a new database"),
        _dir: dir,
    }
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A split into two shares, and the first of them.
fn made() -> (Split, Share) {
    let code = RecoveryCode::generate(&OsRandom);
    let mut shares = split(&code, 2, 2, &OsRandom).expect("split");
    let split = Split::sign(&code.keys(), at(5), 2, Duration::ZERO, &shares);
    (split.expect("bounded"), shares.remove(0))
}

fn holder(byte: u8, delivery: Delivery) -> Holder {
    Holder {
        node: node(byte),
        point: byte,
        delivery,
        drilled: None,
    }
}

#[test]
fn rows_come_back_as_they_were() {
    let bench = bench();
    let (split, share) = made();
    let owner = split.owner();
    let own = Own {
        split: split.clone(),
        holders: vec![
            Holder {
                drilled: Some((at(7), true)),
                ..holder(1, Delivery::Kept)
            },
            Holder {
                drilled: Some((at(8), false)),
                ..holder(2, Delivery::GivenUp)
            },
            holder(3, Delivery::Waiting),
            holder(4, Delivery::Refused),
        ],
    };
    let root = RecoveryCode::generate(&OsRandom).keys().root;
    let record = KeyRecord::first(&root, EncryptionKey::random(&OsRandom).public());
    let asking = |byte, state, record| Asking {
        asker: node(byte),
        arrived: at(9),
        record,
        state,
        given: (byte == 2).then(|| at(11)),
    };
    let all = [
        asking(1, State::Open, Some(record.clone())),
        asking(2, State::Approved(at(10)), Some(record.clone())),
        asking(3, State::Refused(at(10)), Some(record)),
        asking(4, State::Vetoed(at(10), node(9)), None),
    ];
    let warning = Warning {
        owner: node(1),
        asker: node(2),
        holder: node(3),
        arrived: at(4),
        until: at(u64::MAX),
        vetoed: true,
    };
    let seeking = Seeking {
        owner: node(1),
        friends: vec![
            (node(2), Sought::Waiting),
            (node(3), Sought::Asked),
            (node(4), Sought::Refused),
        ],
    };
    let fetch = Request::Fetch { owner: node(1) };
    let errand = Errand::new(node(6), fetch, at(12), &OsRandom);
    let held = Held {
        split: split.clone(),
        share,
        since: at(6),
    };
    write(&bench.db, |tx| {
        own.keep(tx)?;
        held.keep(tx)?;
        all.iter().try_for_each(|asking| asking.keep(tx, &owner))?;
        warning.keep(tx)?;
        seeking.keep(tx)?;
        errand.keep(tx)
    })
    .expect("stores");
    read(&bench.db, |tx| {
        assert_eq!(Own::find(tx)?, Some(own));
        let found = Held::find(tx, &owner)?.expect("held");
        assert_eq!((found.split, found.since), (split, at(6)));
        assert!(found.share == held.share);
        assert_eq!(Held::all(tx)?.len(), 1);
        assert_eq!(Asking::all(tx, &owner)?, all);
        assert_eq!(Warning::all(tx)?, [warning]);
        assert_eq!(Seeking::find(tx, &node(1))?, Some(seeking.clone()));
        assert_eq!(Seeking::all(tx)?, [seeking]);
        assert_eq!(Errand::all(tx)?, [errand]);
        Ok(())
    })
    .expect("reads");
    let gone = write(&bench.db, |tx| Held::forget(tx, &owner));
    assert_eq!(gone, Ok(true));
    read(&bench.db, |tx| {
        assert!(Held::find(tx, &owner)?.is_none());
        assert_eq!(Asking::all(tx, &owner)?, []);
        Ok(())
    })
    .expect("reads");
}

#[test]
fn damaged_rows_are_said_to_be_damaged() {
    let bench = bench();
    let (split, share) = made();
    let owner = split.owner();
    let held = Held {
        split,
        share,
        since: at(6),
    };
    write(&bench.db, |tx| held.keep(tx)).expect("stores");
    let value = read(&bench.db, |tx| {
        let row = tx.value(RECOVERY_HELD, ALL, owner.as_bytes())?;
        Ok(row.expect("stored").expose().to_vec())
    })
    .expect("reads");
    for cut in (0..value.len()).step_by(7) {
        let put = bench
            .db
            .write(|tx| tx.put(RECOVERY_HELD, ALL, owner.as_bytes(), &value[..cut]));
        put.map_err(|error: StoreError| error).expect("stores");
        let problem = read(&bench.db, |tx| Held::find(tx, &owner)).expect_err("damaged");
        assert_eq!(problem.code, polykey_api::Code::BadData, "{cut}");
    }
    for (group, bytes) in [
        (OWN, &[0x82, 0, 0][..]),
        (SOUGHT, &[0x81, 0]),
        (WARNINGS, &[0x80]),
    ] {
        let put = bench.db.write(|tx| tx.put(RECOVERY_OWN, group, b"", bytes));
        put.map_err(|error: StoreError| error).expect("stores");
    }
    assert!(read(&bench.db, Own::find).is_err());
    assert!(read(&bench.db, Seeking::all).is_err());
    assert!(read(&bench.db, Warning::all).is_err());
}

#[test]
fn who_takes_the_place_of_a_friend_holds_and_is_told_what_that_did() {
    let bench = bench();
    let (split, share) = made();
    let key = EncryptionKey::random(&OsRandom).public();
    let leave = |to| Request::Leave {
        split: split.as_bytes().to_vec(),
        sealed: split.seal(polykey_trust::split::Purpose::Keep, &share, to, &key, &OsRandom),
    };
    let veto = Request::Veto {
        owner: node(8),
        asker: node(9),
    };
    let own = Own {
        split: split.clone(),
        holders: vec![holder(1, Delivery::Waiting), holder(2, Delivery::Kept)],
    };
    let seeking = Seeking {
        owner: node(8),
        friends: vec![(node(2), Sought::Asked)],
    };
    write(&bench.db, |tx| {
        own.keep(tx)?;
        seeking.keep(tx)?;
        for to in [node(1), node(2)] {
            Errand::new(to, leave(to), at(1), &OsRandom).keep(tx)?;
            Errand::new(to, veto.clone(), at(1), &OsRandom).keep(tx)?;
        }
        succeed(tx, node(1), node(11))?;
        succeed(tx, node(2), node(12))?;
        succeed(tx, node(3), node(13))
    })
    .expect("moves");
    read(&bench.db, |tx| {
        let own = Own::find(tx)?.expect("kept");
        let now: Vec<_> = own
            .holders
            .iter()
            .map(|holder| (holder.node, holder.delivery))
            .collect();
        assert_eq!(now, [(node(11), Delivery::Refused), (node(12), Delivery::Kept)]);
        assert_eq!(Seeking::all(tx)?[0].friends, [(node(12), Sought::Asked)]);
        let errands = Errand::all(tx)?;
        assert!(errands.iter().all(|errand| errand.request == veto));
        let mut to: Vec<_> = errands.iter().map(|errand| errand.to).collect();
        to.sort_unstable();
        assert_eq!(to, [node(11), node(12)]);
        Ok(())
    })
    .expect("reads");
}
