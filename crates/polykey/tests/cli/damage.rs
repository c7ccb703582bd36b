//! Files that were changed, cut, swapped, removed or put back while no agent ran.
//!
//! Each case starts from the same whole node, damages one thing, and asks for secrets: the answer is the right
//! bytes, or an error that names what is damaged; never other bytes, a panic or a hang.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::home::{Ended, Home, run};

/// Longer than any answer takes, on a busy computer too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node with two vaults, and a copy of it from which each case starts.
struct Whole {
    home: Home,
    copy: PathBuf,
    /// Folders of the vaults `a` and `b`.
    vaults: [PathBuf; 2],
}

impl Whole {
    fn new() -> Whole {
        let home = Home::live();
        let mut vaults = Vec::new();
        for name in ["a", "b"] {
            home.pk(["vaults", "create", name]).ok();
            let known = |path: &PathBuf| !vaults.contains(path);
            let folder = entries(&home.node().join("vaults")).into_iter().find(known);
            vaults.push(folder.expect("just made"));
            for size in [20, 5_000, 600_000] {
                let place = format!("{name}:s{size}");
                home.pk_with_input(["secrets", "write", &place], &content(name, size))
                    .ok();
            }
        }
        home.pk(["agent", "unlock"]).ok();
        home.pk(["agent", "stop"]).ok();
        let copy = home.path().join("copy");
        copy_tree(&home.node(), &copy);
        let vaults = vaults.try_into().expect("two");
        Whole { home, copy, vaults }
    }

    /// The whole node again, and no agent.
    fn restore(&self) {
        self.bounded(["agent", "stop"]);
        fs::remove_dir_all(self.home.node()).expect("ours");
        copy_tree(&self.copy, &self.home.node());
    }

    fn bounded<const N: usize>(&self, args: [&str; N]) -> Ended {
        let command = self.home.command(args);
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || sender.send(run(command, b"")));
        ended
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("{args:?} hangs"))
    }

    /// Reads everything in `vault`; each answer is right, or one of `codes`. True when all were right.
    #[track_caller]
    fn read(&self, what: &str, vault: &str, codes: &[i32]) -> bool {
        let mut right = true;
        for size in [20, 5_000, 600_000] {
            let ended = self.bounded(["secrets", "cat", &format!("{vault}:s{size}")]);
            if ended.code == 0 {
                assert!(
                    ended.stdout == content(vault, size),
                    "{what}: other bytes of {vault}:s{size}"
                );
                continue;
            }
            right = false;
            assert!(
                codes.contains(&ended.code),
                "{what}: {vault}:s{size} {} {}",
                ended.code,
                ended.stderr
            );
            assert!(
                ended.stderr.starts_with("polykey: error: "),
                "{what}: {}",
                ended.stderr
            );
            // A stream that broke off says so by its code; what came before that was right.
            assert!(
                content(vault, size).starts_with(&ended.stdout),
                "{what}: other bytes"
            );
        }
        let log = fs::read_to_string(self.home.node().join("agent.log")).unwrap_or_default();
        assert!(!log.contains("panicked"), "{what}: {log}");
        right
    }
}

fn content(vault: &str, size: usize) -> Vec<u8> {
    vault
        .bytes()
        .cycle()
        .zip(0..size)
        .map(|(byte, at)| byte ^ (at % 251) as u8)
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).expect("a folder");
    let mut all: Vec<PathBuf> = all.map(|entry| entry.expect("an entry").path()).collect();
    all.sort();
    all
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).expect("free");
    for path in entries(from) {
        let target = to.join(path.file_name().expect("has one"));
        let kind = fs::symlink_metadata(&path).expect("there").file_type();
        if kind.is_dir() {
            copy_tree(&path, &target);
        } else if kind.is_file() && !path.to_string_lossy().ends_with("-reserve") {
            fs::copy(&path, &target).expect("copies");
        }
    }
}

/// The object files of a vault, in no order that means anything.
fn objects(vault: &Path) -> Vec<PathBuf> {
    let folders = entries(&vault.join("objects"));
    let folders = folders.into_iter().filter(|path| path.is_dir());
    folders.flat_map(|folder| entries(&folder)).collect()
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).expect("there").len()
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("inside");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("writes");
}

fn cut(path: &Path, to: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("there");
    file.set_len(to).expect("cuts");
}

fn swap(one: &Path, other: &Path) {
    let beside = one.with_extension("swapped");
    fs::rename(one, &beside).expect("the same disk");
    fs::rename(other, one).expect("the same disk");
    fs::rename(&beside, other).expect("the same disk");
}

#[test]
fn a_damaged_key_file_is_told_and_a_restored_one_opens() {
    let whole = Whole::new();
    let keys = whole.home.node().join("keys");
    let start = |what: &str, codes: &[i32]| {
        for _ in 0..2 {
            let ended = whole.bounded(["agent", "start", "--background"]);
            assert!(codes.contains(&ended.code), "{what}: {ended:?}");
            if ended.code == 65 {
                assert!(ended.stderr.contains("key"), "{what}: {}", ended.stderr);
            }
        }
    };
    for at in [0, 9, 40, 80, 120, 200, 260, len(&keys) - 1] {
        flip(&keys, at);
        // Sealed with the password, so a changed byte can look like a wrong one.
        start(&format!("byte {at}"), &[65, 77]);
        flip(&keys, at);
    }
    let bytes = fs::read(&keys).expect("there");
    for to in [0, 1, 100, len(&keys) - 1] {
        cut(&keys, to);
        start(&format!("cut to {to}"), &[65]);
        fs::write(&keys, &bytes).expect("writes");
    }
    fs::write(&keys, [&bytes[..], b"x"].concat()).expect("writes");
    start("too long", &[65]);
    fs::remove_file(&keys).expect("there");
    start("removed", &[65]);
    fs::create_dir(&keys).expect("free");
    start("a folder", &[65, 74]);
    fs::remove_dir(&keys).expect("empty");

    let other = Home::empty();
    other.pk(["bootstrap"]).ok();
    fs::copy(other.node().join("keys"), &keys).expect("copies");
    start("another node's", &[65]);
    fs::write(&keys, &bytes).expect("writes");
    assert!(whole.read("restored", "a", &[]));
}

#[test]
fn a_damaged_vault_is_told_and_the_other_works() {
    let whole = Whole::new();
    let database = whole.vaults[0].join("vault.db");
    let mut found = 0;
    let size = len(&database);
    let damages = (0..10).map(|part| {
        (
            format!("byte {}", size * part / 10 + 37),
            Some(size * part / 10 + 37),
        )
    });
    for (what, at) in
        damages.chain([0, 1, 100, 4096, size / 2, size - 1].map(|to| (format!("cut to {to}"), None)))
    {
        whole.restore();
        match at {
            Some(at) => flip(&database, at),
            None => cut(
                &database,
                what.trim_start_matches("cut to ").parse().expect("a number"),
            ),
        }
        found += usize::from(!whole.read(&what, "a", &[65, 74]));
        whole.bounded(["secrets", "cat", "b:s20"]).ok();
    }
    // Some bytes of a database belong to nothing.
    assert!(found >= 7, "{found}");

    whole.restore();
    swap(&database, &whole.vaults[1].join("vault.db"));
    assert!(!whole.read("swapped", "a", &[65]) && !whole.read("swapped", "b", &[65]));

    whole.restore();
    fs::remove_file(&database).expect("there");
    whole
        .bounded(["secrets", "cat", "a:s20"])
        .ended(74)
        .says("absent");
    assert!(whole.read("removed", "b", &[]));
    assert!(!database.exists());

    whole.restore();
    assert!(whole.read("restored", "a", &[]));
}

type Damage = fn(&[PathBuf]);

#[test]
fn damaged_objects_are_never_returned() {
    let whole = Whole::new();
    let of = |vault: &Path| objects(vault);
    let damages: [(&str, Damage); 7] = [
        ("first byte", |all| flip(&all[0], 0)),
        ("last byte", |all| flip(&all[0], len(&all[0]) - 1)),
        ("a byte in the middle of another", |all| {
            flip(&all[1], len(&all[1]) / 2);
        }),
        ("cut", |all| cut(&all[0], len(&all[0]) - 16)),
        ("empty", |all| cut(&all[0], 0)),
        ("swapped", |all| swap(&all[0], &all[1])),
        ("removed", |all| fs::remove_file(&all[0]).expect("there")),
    ];
    for (what, damage) in damages {
        whole.restore();
        damage(&of(&whole.vaults[0]));
        let large = whole.bounded(["secrets", "cat", "a:s600000"]);
        assert!(
            [65, 74].contains(&large.code),
            "{what}: {} {}",
            large.code,
            large.stderr
        );
        assert!(content("a", 600_000).starts_with(&large.stdout), "{what}");
        whole.bounded(["secrets", "cat", "a:s20"]).ok();
        whole.bounded(["secrets", "cat", "b:s600000"]).ok();
        // To remove it, nobody needs to read it.
        whole.bounded(["secrets", "rm", "a:s600000"]).ok();
    }
    whole.restore();
    swap(&whole.vaults[0].join("objects"), &whole.vaults[1].join("objects"));
    assert!(!whole.read("all swapped", "a", &[65, 74]));
    whole.restore();
    fs::remove_dir_all(whole.vaults[0].join("objects")).expect("there");
    assert!(!whole.read("all removed", "a", &[65, 74]));
    assert!(whole.read("all removed", "b", &[]));
}

#[test]
fn swapped_and_older_vault_folders_do_no_harm() {
    let whole = Whole::new();
    swap(&whole.vaults[0], &whole.vaults[1]);
    for vault in ["a", "b"] {
        assert!(!whole.read("swapped", vault, &[65]));
    }
    assert!(whole.bounded(["vaults", "list"]).ok().text().contains('a'));

    // An older copy as a whole cannot be seen, but it works, and what is written then stays.
    whole.restore();
    whole.home.pk_with_input(["secrets", "write", "a:new"], b"1").ok();
    whole.home.pk(["agent", "stop"]).ok();
    let folder = &whole.vaults[0];
    let name = folder.strip_prefix(whole.home.node()).expect("inside");
    fs::remove_dir_all(folder).expect("ours");
    copy_tree(&whole.copy.join(name), folder);
    assert!(whole.read("older", "a", &[]));
    whole
        .home
        .pk_with_input(["secrets", "write", "a:newer"], b"2")
        .ok();
    whole.bounded(["agent", "stop"]).ok();
    assert_eq!(whole.bounded(["secrets", "cat", "a:newer"]).ok().stdout, b"2");
}

#[test]
fn a_damaged_node_database_is_told_and_opens_when_restored() {
    let whole = Whole::new();
    let database = whole.home.node().join("node.db");
    let size = len(&database);
    let mut found = 0;
    let pages = size / 4096;
    for part in 0..10 {
        // What lies where, and which pages are free, differs from run to run: a page is hit at its start and, where its
        // rows begin, at its end.
        for page in pages * part / 10..pages * (part + 1) / 10 {
            flip(&database, page * 4096 + 37);
            flip(&database, page * 4096 + 4080);
        }
        let ended = whole.bounded(["agent", "start", "--background"]);
        assert!([0, 65, 74].contains(&ended.code), "part {part}: {ended:?}");
        if ended.code == 0 {
            whole.read(&format!("part {part}"), "a", &[65, 74]);
        } else {
            found += 1;
            assert!(
                ended.stderr.contains("node") || ended.stderr.contains("register"),
                "{}",
                ended.stderr
            );
            whole
                .bounded(["agent", "start", "--background"])
                .ended(ended.code);
        }
        whole.restore();
    }
    assert!(found >= 2, "{found}");
    for to in [0, 100, 4096, size - 4096] {
        cut(&database, to);
        let ended = whole.bounded(["agent", "start", "--background"]);
        assert!([65, 74].contains(&ended.code), "cut to {to}: {ended:?}");
        whole.restore();
    }
    swap(&database, &whole.vaults[0].join("vault.db"));
    whole
        .bounded(["agent", "start", "--background"])
        .ended(65)
        .says("node.db");
    whole.restore();
    fs::remove_file(&database).expect("there");
    let ended = whole.bounded(["agent", "start", "--background"]);
    assert!([65, 74].contains(&ended.code), "{ended:?}");
    assert!(ended.stderr.contains("node.db"), "{}", ended.stderr);
    assert!(
        !database.exists(),
        "nothing is made in the place of a lost database"
    );
    whole.restore();
    assert!(whole.read("restored", "a", &[]));
}

#[test]
fn other_files_of_the_node_path_stop_nothing_or_say_so() {
    let whole = Whole::new();
    let node = whole.home.node();
    let works = |what: &str| {
        assert!(whole.read(what, "a", &[]), "{what}");
        whole.restore();
    };
    for junk in [&b""[..], b"{}", b"\xff\0not JSON", &[b'x'; 100_000]] {
        fs::write(node.join("agent.lock"), junk).expect("writes");
        assert_eq!(
            whole.bounded(["agent", "status", "--json"]).ok().json()["status"],
            "DEAD"
        );
        works("lock file");
        fs::write(node.join("agent.sock"), junk).expect("writes");
        works("socket");
        fs::write(node.join("audit.tail"), junk).expect("writes");
        works("tail of the audit log");
        fs::write(node.join("token"), junk).expect("writes");
        whole.bounded(["agent", "start", "--background"]).ok();
        whole
            .home
            .pk_without_password(["secrets", "cat", "a:s20"])
            .ended(77)
            .silent();
        works("token");
    }
    let folder = |path: &Path| fs::create_dir(path).expect("free");
    // Nobody ever writes to it or reads from it: whoever opens it without care waits for ever.
    let pipe = |path: &Path| {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, path, FileType::Fifo, mode, 0).expect("makes a pipe");
    };
    let kinds: [&dyn Fn(&Path); 2] = [&folder, &pipe];
    for name in [
        "agent.lock",
        "agent.sock",
        "agent.log",
        "token",
        "node.db-wal",
        "audit.tail",
        "keys",
        "node.db",
        "config.toml",
    ] {
        for put in kinds {
            let _ = fs::remove_file(node.join(name));
            put(&node.join(name));
            let ended = whole.bounded(["secrets", "cat", "a:s20"]);
            assert!([0, 65, 74, 78].contains(&ended.code), "{name}: {ended:?}");
            assert!(
                ended.code == 0 || ended.stderr.contains(name),
                "{name}: {}",
                ended.stderr
            );
            whole.bounded(["agent", "status"]);
            whole.restore();
        }
    }
    for junk in [
        &b"colour = "[..],
        b"\xff",
        b"unknown-setting = 1\n",
        b"network = 7\n",
    ] {
        fs::write(node.join("config.toml"), junk).expect("writes");
        whole
            .bounded(["secrets", "cat", "a:s20"])
            .ended(78)
            .says("config.toml")
            .silent();
    }
    whole.restore();
    works("restored");
}
