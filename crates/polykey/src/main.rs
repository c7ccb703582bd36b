//! The `polykey` program: the command line, and the agent's crate for what needs keys or storage without a
//! live agent.

use std::alloc::System;
use std::path::Path;
use std::process::ExitCode;

use polykey_agent::{doctor, open, paths::NodePaths, relay, start, versions};
use polykey_api::Problem;
use polykey_api::doctor::Finding;
use polykey_api::relay::{RelayOrder, RelayStarted};
use polykey_api::start::{Bootstrapped, StartOrder, Started};
use polykey_api::version::Versions;
use polykey_cli::context::Local;
use zeroizing_alloc::ZeroAlloc;

/// Wipes all memory that is given back: buffers of HTTP and JSON hold secrets too, and their libraries do not
/// wipe them.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

struct ThisProcess;

impl Local for ThisProcess {
    fn node_exists(&self, node_path: &Path) -> bool {
        open::exists(&NodePaths::new(node_path.to_owned()))
    }

    fn examine_files(&self, node_path: &Path) -> Vec<Finding> {
        doctor::examine_files(&NodePaths::new(node_path.to_owned()))
    }

    fn examine_node(&self, node_path: &Path, password: &[u8]) -> Vec<Finding> {
        doctor::examine_offline(&NodePaths::new(node_path.to_owned()), password)
    }

    fn bootstrap(&self, order: &StartOrder) -> Result<Bootstrapped, Problem> {
        start::bootstrap(order)
    }

    fn run(&self, order: StartOrder, ready: &mut dyn FnMut(&Started)) -> Result<(), Problem> {
        start::log_to_stderr(order.verbose);
        start::run(order, ready)
    }

    fn relay(&self, order: &RelayOrder, ready: &mut dyn FnMut(&RelayStarted)) -> Result<(), Problem> {
        start::log_to_stderr(order.verbose);
        relay::run(order, ready)
    }

    fn new_recovery_code(&self) -> String {
        open::new_recovery_code()
    }

    fn versions(&self) -> Versions {
        versions::versions()
    }

    fn run_as_child(&self) -> Result<(), Problem> {
        start::run_as_child()
    }
}

fn main() -> ExitCode {
    polykey_cli::run(std::env::args_os(), &ThisProcess)
}
