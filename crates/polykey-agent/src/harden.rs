//! What the operating system is asked to do for a process that holds secrets.
//!
//! No core dump, not traceable and its `/proc` entries closed to processes of the same user, and new files
//! private. Best effort: a system that refuses one of these does not stop the agent.

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Hardens this process. Called first thing in an agent, and in a client before it reads a secret.
pub fn harden_process() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
