//! What a vault promises to those who call it, tested from outside: contents, changes, views, names.

use polykey_core::Key;
use polykey_store::StoreError;

use crate::trial::{Trial, key, open, path, staged};
use crate::{At, Change, Depth, Env, Expect, Parents, Vault, VaultError, VersionRef};

#[test]
fn secrets_of_every_size_come_back_byte_for_byte() {
    let trial = Trial::new();
    let sizes = [
        0, 1, 255, 256, 257, 16_000, 16_344, 16_345, 20_000, 262_103, 262_104, 262_105, 1_000_000,
    ];
    for size in sizes {
        let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
        trial.write(&format!("size/{size}"), &bytes);
    }
    let trial = trial.reopen();
    for size in sizes {
        let bytes: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
        assert!(
            trial.read(&format!("size/{size}")).expect("there") == bytes,
            "{size}"
        );
    }
}

#[test]
fn a_change_that_alters_nothing_makes_no_commit() {
    let trial = Trial::new();
    trial.write("a", b"one");
    let unchanged = |steps: &dyn Fn(&mut Change<'_>) -> Result<(), VaultError>| {
        let (_, commit) = trial.change(None, |change| steps(change)).expect("allowed");
        assert_eq!(commit, None);
    };
    unchanged(&|_| Ok(()));
    unchanged(&|change| {
        let same = staged(change, b"one")?;
        assert!(!change.put(&path("a"), same, &Expect::Any)?.changed);
        Ok(())
    });
    unchanged(&|change| {
        change.rename(&path("a"), &path("b"))?;
        change.rename(&path("b"), &path("a"))
    });
    unchanged(&|change| {
        let other = staged(change, b"two")?;
        change.put(&path("new"), other, &Expect::Any)?;
        change.remove(&path("new"), Depth::Single)
    });
}

#[test]
fn a_change_that_fails_leaves_nothing() {
    let trial = Trial::new();
    let failed = trial.change(None, |change| {
        let content = staged(change, b"x")?;
        change.put(&path("a"), content, &Expect::Any)?;
        change.remove(&path("missing"), Depth::Single)
    });
    assert!(matches!(failed, Err(VaultError::NoSuchPath { .. })));
    assert!(trial.paths().is_empty());
}

#[test]
fn steps_see_the_ones_before_them() {
    let trial = Trial::new();
    trial.write("d/old", b"1");
    let (_, commit) = trial
        .change(None, |change| {
            let content = staged(change, b"2")?;
            change.put(&path("d/new"), content, &Expect::Absent)?;
            change.rename(&path("d"), &path("e"))?;
            change.mkdir(&path("d"), Parents::Needed)?;
            assert_eq!(change.names(&path("e"))?.len(), 2);
            assert_eq!(change.open(&path("e/new"))?.into_bytes(9)?.expose(), b"2");
            assert_eq!(change.open(&path("e/old"))?.into_bytes(9)?.expose(), b"1");
            assert!(!change.exists(&path("d/old"))?);
            Ok::<_, VaultError>(())
        })
        .expect("allowed");
    assert!(commit.is_some());
    assert_eq!(trial.paths(), ["d/", "e/", "e/new", "e/old"]);
}

#[test]
fn expectations_hold_or_the_write_fails() {
    let trial = Trial::new();
    let put = |expect: Expect| {
        trial.change(None, |change| {
            let content = staged(change, format!("{expect:?}").as_bytes())?;
            change.put(&path("a"), content, &expect)
        })
    };
    assert!(matches!(put(Expect::Present), Err(VaultError::NoSuchPath { .. })));
    assert!(matches!(
        put(Expect::Version(1)),
        Err(VaultError::VersionDiffers { found: 0, .. })
    ));
    assert!(put(Expect::Version(0)).is_ok());
    assert!(matches!(put(Expect::Absent), Err(VaultError::Exists { .. })));
    let versions = trial
        .view(At::Now)
        .expect("now")
        .stat(&path("a"))
        .expect("there")
        .versions;
    assert_eq!(put(Expect::Version(1)).expect("it is").0.version, 2);
    assert!(matches!(
        put(Expect::Version(1)),
        Err(VaultError::VersionDiffers { found: 2, .. })
    ));
    assert!(matches!(
        put(Expect::Replaces(versions)),
        Err(VaultError::Changed { .. })
    ));
}

#[test]
fn what_was_removed_comes_back_with_its_history() {
    let trial = Trial::new();
    trial.write("a", b"one");
    trial.write("a", b"two");
    trial
        .change(None, |change| change.remove(&path("a"), Depth::Single))
        .expect("removed");
    assert!(matches!(trial.read("a"), Err(VaultError::NoSuchPath { .. })));
    let restored = trial.change(None, |change| change.restore(&path("a"), &VersionRef::number(1)));
    assert_eq!(
        restored.map_err(|e: VaultError| e).expect("restored").0.version,
        3
    );
    assert_eq!(trial.read("a").expect("there"), b"one");
    trial
        .change(None, |change| change.remove(&path("a"), Depth::Single))
        .expect("removed");
    assert_eq!(trial.write("a", b"new"), 4);
}

#[test]
fn views_of_the_past_show_the_past() {
    let trial = Trial::new();
    let mut moments = vec![];
    let mut step = |steps: &dyn Fn(&mut Change<'_>) -> Result<(), VaultError>| {
        let (_, commit) = trial.change(None, |change| steps(change)).expect("allowed");
        moments.push((commit.expect("something changed"), trial.tree(At::Now)));
    };
    let put = |at: &'static str, bytes: &'static [u8]| {
        move |change: &mut Change<'_>| {
            let content = staged(change, bytes)?;
            change.put(&path(at), content, &Expect::Any).map(drop)
        }
    };
    step(&put("d/a", b"1"));
    step(&put("d/b", b"2"));
    step(&put("d/a", b"3"));
    step(&|change| change.rename(&path("d"), &path("e/f")));
    step(&|change| change.remove(&path("e"), Depth::Recursive));
    step(&put("d/a", b"4"));
    for (commit, tree) in &moments {
        assert_eq!(&trial.tree(At::Commit(*commit)), tree);
    }
}

#[test]
fn one_folder_is_one_vault_with_one_key() {
    let trial = Trial::new();
    trial.write("a", b"x");
    assert!(matches!(
        open(&trial.folder()),
        Err(VaultError::Store(StoreError::Busy { .. }))
    ));
    trial.vault.close().expect("closes");
    let wrong = Vault::open(
        &trial.folder(),
        &Key::from_array([9; 32]),
        crate::trial::identity(1),
        crate::trial::env(),
    );
    assert!(matches!(
        wrong,
        Err(VaultError::Store(StoreError::WrongKey { .. }))
    ));
    let again = Vault::create(
        &trial.folder(),
        &key(),
        crate::trial::identity(1),
        crate::trial::env(),
    );
    assert!(again.is_err());
}

#[test]
fn names_from_hell_are_names() {
    let trial = Trial::new();
    let deep = vec!["d"; 512].join("/");
    let long = "\u{202e}".repeat(85);
    for at in [
        "caf\u{e9}",
        &deep,
        &long,
        "\u{1b}[31m",
        "LD_PRELOAD",
        ".x/.y",
        "a~12345678",
    ] {
        trial.write(at, at.as_bytes());
    }
    // The other spelling is the same name.
    assert_eq!(trial.write("cafe\u{301}", b"again"), 2);
    let trial = trial.reopen();
    assert_eq!(trial.read("caf\u{e9}").expect("there"), b"again");
    assert_eq!(trial.read(&deep).expect("there"), deep.as_bytes());
    assert_eq!(trial.read(&long).expect("there"), long.as_bytes());
    assert_eq!(
        trial
            .view(At::Now)
            .expect("now")
            .walk(&path("d"))
            .expect("walks")
            .len(),
        511
    );
    let (_, commit) = trial
        .change(None, |change| change.remove(&path("d"), Depth::Recursive))
        .expect("removed");
    assert!(commit.is_some());
    assert!(
        !trial
            .view(At::Now)
            .expect("now")
            .exists(&path("d"))
            .expect("looks")
    );
    let blocked = trial.change(None, |change| {
        let content = staged(change, b"x")?;
        change.put(&path("caf\u{e9}/below"), content, &Expect::Any)
    });
    assert!(matches!(blocked, Err(VaultError::NotDirectory { .. })));
}

#[test]
fn a_change_too_large_for_one_commit_shows_as_a_whole() {
    let trial = Trial::new();
    let count = 1_500;
    // Long paths fill a commit with few secrets.
    let long = vec!["x".repeat(200); 14].join("/");
    let (_, commit) = trial
        .change(None, |change| {
            for number in 0..count {
                let content = staged(change, &u32::to_be_bytes(number))?;
                let at = path(&format!("many/{}/{long}/{number}", number % 5));
                change.put(&at, content, &Expect::Absent)?;
            }
            Ok::<_, VaultError>(())
        })
        .expect("allowed");
    let log = trial.log(&crate::LogFilter::default()).expect("a log");
    assert!(log.len() > 1 && Some(log[0].commit) == commit);
    assert!(log[0].message.starts_with("part "));
    let trial = trial.reopen();
    let view = trial.view(At::Now).expect("now");
    assert_eq!(
        view.walk(&path("many")).expect("walks").len(),
        count as usize + 5 * 15
    );
    trial
        .change(None, |change| change.rename(&path("many"), &path("moved")))
        .expect("allowed");
    let (_, commit) = trial
        .change(None, |change| {
            for dir in change.names(&path("moved"))? {
                let top = path(&format!("moved/{}", dir.name));
                let dir = path(&format!("{top}/{long}"));
                for name in change.names(&dir)? {
                    change.remove(&path(&format!("{dir}/{}", name.name)), Depth::Single)?;
                }
                assert!(
                    !change.exists(&top)?,
                    "empty directories that nobody made are gone"
                );
            }
            Ok::<_, VaultError>(())
        })
        .expect("allowed");
    assert!(commit.is_some() && trial.paths().is_empty());
}

#[test]
fn a_copy_on_another_machine_goes_on_under_another_actor() {
    let trial = Trial::new();
    trial.write("a", b"1");
    let actor = trial.actor();
    let trial = trial.reopen();
    assert_eq!(trial.actor(), actor);
    trial.vault.close().expect("closes");
    let elsewhere = Env {
        machine: b"elsewhere".to_vec(),
        ..crate::trial::env()
    };
    let vault = Vault::open(&trial.folder(), &key(), crate::trial::identity(1), elsewhere);
    let vault = vault.expect("opens");
    assert_ne!(vault.actor(), actor);
    let trial = Trial {
        vault,
        place: trial.place,
    };
    assert_eq!(trial.write("a", b"2"), 2);
    assert!(trial.check().expect("reads").problems.is_empty());
}

#[test]
fn a_node_that_is_no_member_reads_and_writes_nothing() {
    let trial = Trial::new();
    trial.write("a", b"1");
    trial.vault.close().expect("closes");
    let stranger = Vault::open(
        &trial.folder(),
        &key(),
        crate::trial::identity(9),
        crate::trial::env(),
    );
    let stranger = stranger.expect("the files open");
    let written = stranger.change(None, |change| {
        let content = staged(change, b"2")?;
        change.put(&path("a"), content, &Expect::Any)
    });
    assert!(matches!(written, Err(VaultError::NotAllowed { .. })));
}

#[test]
fn attributes_stay_with_a_secret_and_are_bounded() {
    let trial = Trial::new();
    trial.write("a", b"1");
    let set = |at: &str, key: &str, value: Option<&str>| {
        trial.change(None, |change| change.set_attribute(&path(at), key, value))
    };
    let made = |at: &str, key: &str, value: Option<&str>| set(at, key, value).expect("allowed").1.is_some();
    assert!(made("a", "note", Some("x")));
    assert!(!made("a", "note", Some("x")), "nothing changes");
    assert!(!made("a", "other", None), "nothing to take away");
    trial
        .change(None, |change| change.rename(&path("a"), &path("b")))
        .expect("moved");
    let attributes = |at: &str| {
        let view = trial.view(At::Now).expect("now");
        view.stat(&path(at)).expect("there").attributes
    };
    assert_eq!(attributes("b")["note"], "x");
    assert_eq!(
        trial
            .view(At::Now)
            .expect("now")
            .stat(&path("b"))
            .expect("there")
            .version,
        1
    );
    for number in 1..64 {
        assert!(made("b", &format!("k{number}"), Some("v")));
    }
    assert!(matches!(
        set("b", "one-more", Some("v")),
        Err(VaultError::Attribute(_))
    ));
    assert!(made("b", "note", None) && made("b", "one-more", Some("v")));
    assert!(matches!(
        set("missing", "k", None),
        Err(VaultError::NoSuchPath { .. })
    ));
}
