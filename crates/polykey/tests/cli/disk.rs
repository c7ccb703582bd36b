//! Disks that are full, read-only or gone.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::{Ended, Home, skip};
use crate::node::eventually;

/// A home with a small disk of its own, mounted at `place` below it.
struct SmallDisk {
    home: Home,
    place: PathBuf,
}

impl SmallDisk {
    /// `None` where this user may not mount one.
    fn mount(place: &str) -> Option<SmallDisk> {
        let home = Home::empty();
        let place = home.path().join(place);
        fs::create_dir(&place).expect("a temporary folder");
        let disk = SmallDisk { home, place };
        if !disk.tool("mount", &["-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs"]) {
            skip("a small disk cannot be mounted here");
            return None;
        }
        Some(disk)
    }

    fn tool(&self, tool: &str, args: &[&str]) -> bool {
        let mut command = Command::new(tool);
        let ended = command.args(args).arg(&self.place).output();
        ended.is_ok_and(|ended| ended.status.success())
    }

    /// Nobody may have a file open for writing there: an agent that was stopped is gone, and its files soon after.
    fn set_read_only(&self, read_only: bool) {
        let mode = if read_only { "remount,ro" } else { "remount,rw" };
        eventually("the disk is mounted anew", || self.tool("mount", &["-o", mode]));
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut file = fs::File::create(self.filler()).expect("a mounted disk");
        while file.write_all(&[7; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).expect("filled before");
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.home.pk(["agent", "stop"]);
        self.tool("umount", &["-l"]);
    }
}

fn write(home: &Home, place: &str, value: &[u8]) -> Ended {
    home.pk_with_input(["secrets", "write", place], value)
}

fn read(home: &Home, place: &str) -> Vec<u8> {
    home.pk(["secrets", "cat", place]).ok().stdout
}

fn no_panic(home: &Home) {
    let log = fs::read_to_string(home.node().join("agent.log")).unwrap_or_default();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_full_disk_refuses_writes_keeps_all_and_can_be_emptied() {
    let Some(disk) = SmallDisk::mount("node") else {
        return;
    };
    let home = &disk.home;
    home.pk(["agent", "start", "--background"]).ok();
    home.pk(["vaults", "create", "v"]).ok();
    home.pk(["vaults", "create", "other"]).ok();
    let large = vec![5; 600_000];
    write(home, "v:large", &large).ok();
    write(home, "v:small", b"1").ok();
    disk.fill();

    // What the audit log makes room for, small writes may use up, but not for long.
    let mut taken = 0;
    let refused = loop {
        assert!(taken < 60, "a full disk takes everything");
        let ended = write(home, &format!("v:more{taken}"), &[taken; 100_000]);
        if ended.code != 0 {
            break ended;
        }
        taken += 1;
    };
    refused.ended(74).says("is full").says("make room");
    home.pk(["secrets", "cat", &format!("v:more{taken}")]).ended(66);
    write(home, "v:large", &vec![6; 600_000]).ended(74);
    home.pk_with_input(["--json", "secrets", "write", "v:large"], &large[1..])
        .ended(74);

    // All that was there is there, also for the next agent.
    let check = |what: &str| {
        assert!(read(home, "v:large") == large, "{what}");
        assert_eq!(read(home, "v:small"), b"1", "{what}");
        for number in 0..taken {
            assert!(
                read(home, &format!("v:more{number}")) == [number; 100_000],
                "{what}"
            );
        }
    };
    check("full");
    home.pk(["agent", "stop"]).ok();
    home.pk(["agent", "start", "--background"]).ok();
    check("opened while full");

    home.pk(["secrets", "rm", "v:large"]).ok();
    home.pk(["secrets", "cat", "v:large"]).ended(66);
    home.pk(["vaults", "delete", "other", "--yes"]).ok();
    assert_eq!(read(home, "v:small"), b"1");
    // Removing finds room; forgetting what was removed gives it back.
    home.pk([
        "vaults", "purge", "v", "large", "--before", "now", "--now", "--yes",
    ])
    .ok();
    write(home, "v:after", &[8; 500_000]).ok();
    disk.make_room();
    write(home, "v:large", b"again").ok();
    assert_eq!(read(home, "v:large"), b"again");
    home.pk(["audit", "verify"]).ok();
    no_panic(home);
}

#[test]
fn a_vault_on_a_full_disk_of_its_own_is_emptied_too() {
    let Some(disk) = SmallDisk::mount("stick") else {
        return;
    };
    let home = &disk.home;
    home.pk(["agent", "start", "--background"]).ok();
    home.pk(["vaults", "create", "v", "--at"]
        .map(Path::new)
        .iter()
        .copied()
        .chain([&*disk.place.join("v")]))
        .ok();
    write(home, "v:a/b", &[1; 50_000]).ok();
    write(home, "v:c", b"kept").ok();
    disk.fill();
    write(home, "v:d", &[2; 50_000]).ended(74).says("is full");
    write(home, "v:d", b"small").ended(74).says("is full");
    home.pk(["secrets", "mkdir", "v:e"]).ended(74);
    home.pk(["secrets", "rm", "-r", "v:a"]).ok();
    assert_eq!(home.pk(["secrets", "ls", "v:"]).ok().text(), "c\n");
    assert_eq!(read(home, "v:c"), b"kept");
    disk.make_room();
    write(home, "v:d", &[2; 50_000]).ok();
    no_panic(home);
}

#[test]
fn a_read_only_node_path_is_a_clear_error_and_nothing_else() {
    let Some(disk) = SmallDisk::mount("node") else {
        return;
    };
    let home = &disk.home;
    home.pk(["agent", "start", "--background"]).ok();
    home.pk(["vaults", "create", "v"]).ok();
    write(home, "v:a", b"1").ok();
    home.pk(["agent", "stop"]).ok();
    disk.set_read_only(true);
    for _ in 0..2 {
        home.pk(["agent", "start", "--background"])
            .ended(74)
            .says(&home.node().to_string_lossy())
            .says("ead-only");
        home.pk(["secrets", "cat", "v:a"]).ended(74);
        assert_eq!(home.status()["status"], "DEAD");
    }
    disk.set_read_only(false);
    assert_eq!(read(home, "v:a"), b"1");
}

#[test]
fn a_read_only_or_absent_vault_answers_74_and_the_others_work() {
    let Some(disk) = SmallDisk::mount("stick") else {
        return;
    };
    let home = &disk.home;
    home.pk(["agent", "start", "--background"]).ok();
    home.pk(["vaults", "create", "here"]).ok();
    home.pk(["vaults", "create", "away", "--at"]
        .map(Path::new)
        .iter()
        .copied()
        .chain([&*disk.place.join("v")]))
        .ok();
    write(home, "here:a", b"1").ok();
    write(home, "away:a", b"2").ok();
    home.pk(["agent", "stop"]).ok();

    disk.set_read_only(true);
    write(home, "away:a", b"3").ended(74).says("read-only");
    write(home, "here:a", b"4").ok();
    home.pk(["agent", "stop"]).ok();
    disk.set_read_only(false);

    let (folder, hidden) = (disk.place.join("v"), disk.place.join("hidden"));
    for _ in 0..2 {
        assert_eq!(read(home, "away:a"), b"2");
        fs::rename(&folder, &hidden).expect("the same disk");
        home.pk(["secrets", "cat", "away:a"])
            .ended(74)
            .says("absent")
            .silent();
        write(home, "away:a", b"5").ended(74).says("absent");
        assert!(
            !folder.exists(),
            "nothing is made in the place of an absent vault"
        );
        assert_eq!(read(home, "here:a"), b"4");
        assert!(home.pk(["vaults", "list"]).ok().text().contains("away"));
        fs::rename(&hidden, &folder).expect("the same disk");
    }
    assert_eq!(read(home, "away:a"), b"2");
    write(home, "away:a", b"6").ok();
    no_panic(home);
}
