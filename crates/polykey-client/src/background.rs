//! Starting an agent in the background.
//!
//! The program starts itself again with its order on standard input and its report on standard output;
//! the child then leaves the caller's session and lets go of both. The password so stands neither in an
//! argument nor in the agent's environment.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use polykey_api::problem::ProblemReply;
use polykey_api::start::{StartOrder, Started};
use polykey_api::{Code, Problem};

/// Variables that open the node: neither the agent nor the programs that we run inherit them.
pub const SECRET_VARIABLES: &[&str] = &["PK_PASSWORD", "PK_PASSWORD_NEW", "PK_RECOVERY_CODE", "PK_TOKEN"];
/// How many heaps glibc makes, mallopt(3). By default each thread that finds the others' heaps busy makes one, and keeps
/// what large work has once needed: after eight imports of 10,000 secrets an agent held 76 MiB, with one heap 33 MiB.
/// It counts only in the environment that a process starts with.
const ARENAS: &str = "MALLOC_ARENA_MAX";
/// Longest report.
const MAX_REPORT: u64 = 64 << 10;

/// Starts `program` with `args` as an agent, hands it `order` and waits until it lives.
///
/// # Errors
/// What the agent reports when it cannot start; [`Code::Internal`] when it ends without a report.
pub fn start(program: &Path, args: &[OsString], order: &StartOrder) -> Result<Started, Problem> {
    let failed = |error: &std::io::Error| {
        Problem::new(Code::NoAgent, "the agent could not be started").caused_by(error)
    };
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if std::env::var_os(ARENAS).is_none() {
        command.env(ARENAS, "1");
    }
    for variable in SECRET_VARIABLES {
        command.env_remove(variable);
    }
    close_on_exec();
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let mut text = serde_json::to_vec(order)
        .map_err(|error| Problem::new(Code::Internal, "the order has no form").caused_by(&error))?;
    text.push(b'\n');
    let handed = child.stdin.take().map(|mut stdin| stdin.write_all(&text));
    text.fill(0);
    let mut report = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout.take(MAX_REPORT))
            .read_line(&mut report)
            .map_err(|error| failed(&error))?;
    }
    if let Ok(started) = serde_json::from_str(&report) {
        return Ok(started);
    }
    // No life, so its end is near, and it leaves no zombie.
    let _ = child.wait();
    if let Ok(reply) = serde_json::from_str::<ProblemReply>(&report) {
        return Err(reply.into());
    }
    if let Some(Err(error)) = handed {
        return Err(failed(&error));
    }
    Err(Problem::new(
        Code::Internal,
        "the agent ended before it was live and did not say why",
    )
    .hint("`agent.log` in the node path may say more"))
}

/// Marks whatever this process inherited beyond the standard streams, so that the agent does not hold
/// open a pipe or a lock of the caller's for the rest of its life.
fn close_on_exec() {
    close_fds::set_fds_cloexec(3, &[]);
}
