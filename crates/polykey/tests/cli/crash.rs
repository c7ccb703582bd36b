//! An agent that is killed at any moment loses nothing that it acknowledged.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::home::Home;

const CYCLES: u32 = 200;
const WRITERS: usize = 3;

/// Writes for as long as it may, and remembers for each secret the last value that was acknowledged and those
/// that were sent after it.
fn write_on(
    home: &Home,
    writer: usize,
    cycle: u32,
    stop: &AtomicBool,
    known: &Mutex<BTreeMap<String, Expected>>,
) {
    let mut round = 0;
    while !stop.load(Ordering::SeqCst) {
        let name = format!("v:w{writer}/s{}", round % 4);
        let value = format!("{cycle} {round} ").repeat(if round % 5 == 0 { 3000 } else { 1 });
        known
            .lock()
            .expect("no writer panics")
            .entry(name.clone())
            .or_default()
            .pending
            .push(value.clone());
        let mut command = home.command(["secrets", "write", "--no-autostart", &name]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program was built");
        let _ = child.stdin.take().expect("piped").write_all(value.as_bytes());
        if child.wait().expect("waits").success() {
            let mut known = known.lock().expect("no writer panics");
            let expected = known.entry(name).or_default();
            expected.pending.clear();
            expected.stored = Some(value);
        }
        round += 1;
    }
}

#[derive(Default)]
struct Expected {
    stored: Option<String>,
    /// Sent after it without an answer; each may have arrived all the same.
    pending: Vec<String>,
}

#[test]
fn nothing_acknowledged_is_lost_to_a_kill() {
    let home = Home::live();
    home.pk(["vaults", "create", "v"]).ok();
    let known = Mutex::new(BTreeMap::new());
    for cycle in 0..CYCLES {
        let pid = Pid::from_raw(home.agent_pid()).expect("not zero");
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (home, stop, known) = (&home, &stop, &known);
                scope.spawn(move || write_on(home, writer, cycle, stop, known));
            }
            // Another moment in each cycle, from before the first write to the middle of many.
            let until = Instant::now() + Duration::from_micros(u64::from(cycle * 977 % 120_000));
            while Instant::now() < until {
                std::thread::yield_now();
            }
            kill_process(pid, Signal::KILL).expect("our own agent");
            stop.store(true, Ordering::SeqCst);
        });
        assert_eq!(home.status()["status"], "DEAD", "cycle {cycle}");
        home.pk(["agent", "start", "--background"]).ok();
        if cycle % 20 == 19 {
            check(&home, &known.lock().expect("no writer panics"));
        }
    }
    check(&home, &known.lock().expect("no writer panics"));
    home.pk(["audit", "verify"]).ok();
}

fn check(home: &Home, known: &BTreeMap<String, Expected>) {
    for (name, expected) in known {
        let read = home.pk(["secrets", "cat", name]);
        let value = (read.code == 0).then(|| read.text().to_owned());
        let fine = value == expected.stored
            || value
                .as_ref()
                .is_some_and(|value| expected.pending.contains(value));
        assert!(fine, "{name}: {} bytes, {:?}", read.stdout.len(), read.stderr);
    }
}
