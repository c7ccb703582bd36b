//! The ground that a run stands on: its folders and processes.
//!
//! All of them are made here and go with their owners, after an error too; [`guard`] sees to it that they go when the
//! run is interrupted. An agent in the background has left its starter's session, so it is found by the lock file of
//! its node path, which is always `node` in a folder of its own.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use polykey_client::rendezvous;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// Name of the node path in its folder.
const NODE: &str = "node";
/// A process that was killed is gone after this time, or something is wrong with the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What must go when the run is interrupted.
#[derive(Default)]
struct Left {
    folders: BTreeSet<PathBuf>,
    processes: BTreeSet<u32>,
}

static LEFT: Mutex<Left> = Mutex::new(Left {
    folders: BTreeSet::new(),
    processes: BTreeSet::new(),
});

fn left() -> MutexGuard<'static, Left> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on a signal that asks for an end takes folders and processes along.
///
/// # Errors
/// When the system gives no thread.
pub fn guard() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    std::thread::Builder::new().name("guard".into()).spawn(move || {
        runtime.block_on(asked_to_end());
        // Held to the end: nothing new comes while all goes.
        let left = left();
        for pid in &left.processes {
            kill(*pid);
        }
        for folder in &left.folders {
            end_agent(folder);
            // Whatever resists is named to the user by the path that stays.
            if let Err(error) = std::fs::remove_dir_all(folder) {
                eprintln!("{} is left: {error}", folder.display());
            }
        }
        std::process::exit(130)
    })?;
    Ok(())
}

async fn asked_to_end() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let [Ok(mut one), Ok(mut two), Ok(mut three)] = kinds.map(signal) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = one.recv() => {}
        _ = two.recv() => {}
        _ = three.recv() => {}
    }
}

/// A temporary folder; it goes with this, and the agent that lives in it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A new one below `place`.
    ///
    /// # Errors
    /// As the disk says.
    pub fn below(place: &Path) -> io::Result<Folder> {
        let folder = tempfile::Builder::new()
            .prefix("polykey-bench-")
            .tempdir_in(place)?;
        left().folders.insert(folder.path().to_owned());
        Ok(Folder(folder))
    }

    /// A new one where temporary files belong.
    ///
    /// # Errors
    /// As the disk says.
    pub fn temporary() -> io::Result<Folder> {
        Folder::below(&std::env::temp_dir())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where a node keeps its files in it.
    pub fn node_path(&self) -> PathBuf {
        self.path().join(NODE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        end_agent(self.path());
        left().folders.remove(self.path());
    }
}

/// Ends the agent whose node path lies in `folder`, if one lives.
fn end_agent(folder: &Path) {
    let node_path = folder.join(NODE);
    let pid = || rendezvous::find(&node_path).ok()?.pid;
    let begin = Instant::now();
    while let Some(pid) = pid() {
        if begin.elapsed() > PATIENCE {
            eprintln!("the agent {pid} does not end");
            return;
        }
        kill(pid);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid.filter(|pid| test_kill_process(*pid).is_ok()) {
        // One that is gone already needs no killing.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// A process that runs for as long as this lives.
pub struct Process(Child);

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// As the system says.
    pub fn start(command: &mut Command) -> io::Result<Process> {
        let mut left = left();
        let child = command.spawn()?;
        left.processes.insert(child.id());
        Ok(Process(child))
    }

    /// The process itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Under the lock: its number is not another's until it is off the list.
        let mut left = left();
        // One that ended by itself is an error here, and none.
        drop(self.0.kill());
        drop(self.0.wait());
        left.processes.remove(&self.0.id());
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn folders_and_processes_go_with_their_owners() {
        let folder = Folder::temporary().expect("a temporary folder");
        let path = folder.path().to_owned();
        std::fs::write(path.join("file"), "").expect("writes");
        let mut sleeper = Command::new("sleep");
        let mut process = Process::start(sleeper.arg("1000").stdout(Stdio::null())).expect("starts");
        let pid = process.child().id();
        assert!(left().folders.contains(&path) && left().processes.contains(&pid));
        drop(folder);
        drop(process);
        assert!(!path.exists());
        let raw = Pid::from_raw(i32::try_from(pid).expect("small")).expect("not zero");
        assert!(test_kill_process(raw).is_err());
        assert!(!left().folders.contains(&path) && !left().processes.contains(&pid));
    }
}
