//! The life of an agent: from the lock to the last answer.
//!
//! ```text
//! lock -> STARTING -> keys open -> socket -> LIVE -> (stop, signal) -> STOPPING -> gone
//! ```
//!
//! Always: whoever waits for the start hears of it, good or bad; running requests get [`GRACE`] to end.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use polykey_api::agent::{State, Status};
use polykey_api::problem::ProblemReply;
use polykey_api::start::{Bootstrapped, StartOrder, Started};
use polykey_api::{Code, Problem};
use polykey_core::SecretBytes;
use polykey_core::random::OsRandom;
use polykey_core::scrub::{self, DEEP, scrubbed};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

use crate::agent::{Agent, Event};
use crate::failure::disk;
use crate::lock::{LockError, NodeLock};
use crate::network::settings::Settings;
use crate::node::Node;
use crate::open::{self, Opened};
use crate::paths::NodePaths;
use crate::replicas::allowance::DEFAULT_QUOTA;
use crate::{handlers, harden, plain, server, signals, stacks};

/// Running requests get this long to end.
const GRACE: Duration = Duration::from_millis(1000);
/// Longest order that a child takes.
const MAX_ORDER: u64 = 1 << 20;

/// Makes a node without starting it.
///
/// # Errors
/// [`Code::Exists`], [`Code::Busy`], or what the disk says.
pub fn bootstrap(order: &StartOrder) -> Result<Bootstrapped, Problem> {
    harden::harden_process();
    let paths = NodePaths::new(order.node_path.clone());
    let _lock = take_lock(&paths)?;
    let opened = open::create(&paths, order, &OsRandom)?;
    Ok(Bootstrapped {
        node_id: opened.node.id().to_string(),
        recovery_code: words(&opened)?.unwrap_or_default(),
    })
}

/// Runs an agent in this process until it is told to stop. `ready` is called once, when it is live.
///
/// # Errors
/// Why it did not come to life, or did not go on.
pub fn run(order: StartOrder, ready: impl FnOnce(&Started)) -> Result<(), Problem> {
    harden::harden_process();
    let paths = NodePaths::new(order.node_path.clone());
    let lock = take_lock(&paths)?;
    // Before the node is opened: what cannot be meant must not leave a new one behind, whose recovery code nobody saw.
    let wishes = Wishes {
        network: Settings::read(&order)?,
        audit_keep: order.audit_keep.unwrap_or_default(),
        keeper_quota: order.keeper_quota.unwrap_or(DEFAULT_QUOTA),
    };
    let workers = workers(&order);
    let mut opened = scrubbed::<DEEP, _>(|| open::open_or_create(&paths, &order, &OsRandom))?;
    // The password has done its work; nothing of it may wait for the end of the agent.
    drop(order);
    let recovery_code = words(&opened)?;
    drop(opened.recovery_code.take());
    let socket = paths
        .socket()
        .map_err(|error| disk(&error, "find a place for the socket of", paths.root()))?;
    let started = Started {
        pid: std::process::id(),
        node_id: opened.node.id().to_string(),
        socket: socket.to_string_lossy().into_owned(),
        recovery_code,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        // Each caller that hangs may hold one; other work still finds its own.
        .max_blocking_threads(2 * server::MAX_CONNECTIONS)
        // A request's header with the password passes over the stacks of these threads.
        .on_thread_park(scrub::overwrite::<DEEP>)
        .enable_all()
        .build()
        .map_err(|error| Problem::new(Code::Io, "the agent's threads cannot be started").caused_by(&error))?;
    let ended = runtime.block_on(async {
        let listener = server::bind(&socket).map_err(|error| disk(&error, "listen on", &socket))?;
        live(&paths, &lock, listener, opened.node, wishes, &socket, move || {
            ready(&started);
        })
        .await
    });
    // Blocking work that still runs must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(300));
    let _ = std::fs::remove_file(&socket);
    ended
}

/// Threads of the runtime: as many as the order says, or the processors.
fn workers(order: &StartOrder) -> usize {
    match order.workers {
        None => stacks::WORKERS,
        Some(0) => std::thread::available_parallelism().map_or(stacks::WORKERS, usize::from),
        Some(count) => usize::from(count),
    }
}

/// Runs an agent whose order stands on standard input, and reports on standard output; then lets go of
/// both and of the caller's session.
pub fn run_as_child() -> Result<(), Problem> {
    // Fails only for the leader of a process group, which a child that was just started is not.
    let _ = rustix::process::setsid();
    let report = Report::take()?;
    let ended = read_order().and_then(|order| {
        detach(&order)?;
        log_to_stderr(order.verbose);
        run(order, |started| report.send(started))
    });
    if let Err(problem) = &ended {
        tracing::error!(code = problem.code.as_str(), "{problem}");
        report.send(&ProblemReply::from(problem.clone()));
    }
    ended
}

/// Sends the log to standard error: warnings, or more for each step of `verbose`.
pub fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    // Only our own crates below warnings: others may log what passes through them.
    let mut filter = "warn".to_owned();
    for ours in ["", "_agent", "_net", "_store", "_vault"] {
        filter += &format!(",polykey{ours}={level}");
    }
    for others in polykey_net::LOG_DIRECTIVES {
        filter += &format!(",{others}");
    }
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .with_writer(|| Patient)
        // It would complain on standard error, and panic when that fails as well.
        .log_internal_errors(false)
        .with_ansi(false)
        .try_init();
}

/// Standard error for the log. What a full disk does not take is lost: a log that cannot be written must never
/// end a request.
struct Patient;

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes the agent on the network. The transport moves the root key over the stack, so this runs on one of the
/// runtime's threads, whose stacks are overwritten, and not on the main one.
async fn take_on_network(agent: &Agent) -> Result<(), Problem> {
    let agent = agent.clone();
    let started = tokio::spawn(async move { agent.network().start(&agent).await });
    started
        .await
        .unwrap_or_else(|_| Err(Problem::new(Code::Internal, "the network could not be started")))
}

/// What the order to start says about the agent's life.
struct Wishes {
    network: Settings,
    /// Audit records that are kept; 0 for all.
    audit_keep: u64,
    /// Bytes that are kept for others in all.
    keeper_quota: u64,
}

async fn live(
    paths: &NodePaths,
    lock: &NodeLock,
    listener: UnixListener,
    node: Node,
    wishes: Wishes,
    socket: &Path,
    ready: impl FnOnce(),
) -> Result<(), Problem> {
    let written = |error: io::Error| disk(&error, "write", &paths.lock());
    let (events, mut woken) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let woke = events.clone();
    // Nobody listens any more only when the agent is going anyway.
    signals::on_end(move |name| {
        let _ = woke.send(Event::Signal(name));
    })
    .map_err(|error| Problem::new(Code::Io, "signals cannot be caught").caused_by(&error))?;
    let agent = Agent::new(paths.clone(), socket.to_owned(), node, wishes.network, events);
    agent.keep_audit(wishes.audit_keep);
    agent.set_keeper_quota(wishes.keeper_quota);
    let chosen = agent.network().has_chosen_port();
    if let Err(problem) = take_on_network(&agent).await
        && chosen
    {
        // The user wants to be found there. Without that wish the vaults come first.
        agent.lock_keys().await;
        return Err(problem);
    }
    let mut status = Status {
        pid: Some(std::process::id()),
        node_id: agent.status().node_id,
        socket: agent.status().socket,
        status: State::Live,
        ..Status::default()
    };
    let serving = tokio::spawn(server::serve(
        listener,
        handlers::routes(agent.clone()),
        stopped,
        agent.cut(),
        GRACE,
    ));
    lock.write(&status).map_err(written)?;
    if let Some(node) = agent.node() {
        // Nobody waits for it; what fails now is tried again at the next start.
        tokio::task::spawn_blocking(move || {
            if let Err(problem) = node.vaults.remove_expired() {
                tracing::warn!("a deleted vault was not removed: {problem}");
            }
        });
    }
    tracing::info!(pid = std::process::id(), "live");
    ready();

    // The main loop: all that can wake the agent stands here.
    while let Some(event) = woken.recv().await {
        match event {
            Event::Stop => {
                tracing::info!("stopping: asked to");
                break;
            }
            Event::Signal(name) => {
                tracing::info!("stopping: {name}");
                break;
            }
            Event::Renewed => {
                status.node_id = agent.status().node_id;
                lock.write(&status).map_err(written)?;
            }
        }
    }

    status.status = State::Stopping;
    let told = lock.write(&status).map_err(written);
    let _ = stop.send(true);
    let _ = serving.await;
    agent.lock_keys().await;
    told
}

/// Takes the node path, or says who holds it.
///
/// # Errors
/// [`Code::Busy`], or what the disk says.
pub(crate) fn take_lock(paths: &NodePaths) -> Result<NodeLock, Problem> {
    paths
        .create()
        .map_err(|error| disk(&error, "make", paths.root()))?;
    let lock = NodeLock::take(&paths.lock()).map_err(|error| match error {
        LockError::Held => Problem::new(
            Code::Busy,
            format!("another process holds the node path {}", paths.root().display()),
        )
        .hint("`polykey agent status` shows it, `polykey agent stop` ends it"),
        LockError::Io(error) => disk(&error, "lock", &paths.lock()),
    })?;
    let starting = Status {
        status: State::Starting,
        pid: Some(std::process::id()),
        ..Status::default()
    };
    lock.write(&starting)
        .map_err(|error| disk(&error, "write", &paths.lock()))?;
    Ok(lock)
}

fn words(opened: &Opened) -> Result<Option<String>, Problem> {
    let text = |words: &SecretBytes| String::from_utf8(words.expose().to_vec());
    opened
        .recovery_code
        .as_ref()
        .map(text)
        .transpose()
        .map_err(|_| Problem::new(Code::Internal, "recovery words are text"))
}

fn read_order() -> Result<StartOrder, Problem> {
    // Room for any usual order, so that growing leaves no copy behind; and no buffer of the library's, which
    // would keep one for as long as the process lives.
    let mut line = zeroize::Zeroizing::new(Vec::with_capacity(64 << 10));
    let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    stdin
        .and_then(|stdin| stdin.take(MAX_ORDER).read_to_end(&mut line))
        .ok()
        .and_then(|_| serde_json::from_slice(&line).ok())
        .ok_or_else(|| {
            Problem::new(Code::Usage, "no order stands on standard input")
                .hint("use `polykey agent start --background`")
        })
}

/// The way back to the starter: what standard output was at the beginning.
struct Report(Cell<Option<File>>);

impl Report {
    fn take() -> Result<Report, Problem> {
        let kept = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Problem::new(Code::Io, "there is no standard output").caused_by(&error))?;
        Ok(Report(Cell::new(Some(File::from(kept)))))
    }

    /// One line, once; then the way is closed. A starter that is gone does not matter.
    fn send<T: serde::Serialize>(&self, report: &T) {
        if let (Some(mut file), Ok(mut line)) = (self.0.take(), serde_json::to_vec(report)) {
            line.push(b'\n');
            let _ = file.write_all(&line);
        }
    }
}

/// Puts the log in the place of the standard streams and leaves the caller's folder, so that nothing of the
/// caller is held.
fn detach(order: &StartOrder) -> Result<(), Problem> {
    let paths = NodePaths::new(order.node_path.clone());
    paths
        .create()
        .map_err(|error| disk(&error, "make", paths.root()))?;
    // Where the user wants it, or at our own place, where anything but a plain file would be somebody else's doing.
    let open = |wanted: &Option<PathBuf>| match wanted {
        Some(wanted) => append(wanted, |options, path| options.open(path)),
        None => append(&paths.log(), plain::open),
    };
    let moved = |error: rustix::io::Errno| {
        Problem::new(Code::Io, "the standard streams cannot be moved").caused_by(&error)
    };
    let nothing = File::open("/dev/null").map_err(|error| disk(&error, "open", Path::new("/dev/null")))?;
    rustix::stdio::dup2_stdin(&nothing).map_err(moved)?;
    rustix::stdio::dup2_stdout(open(&order.out_file)?).map_err(moved)?;
    rustix::stdio::dup2_stderr(open(&order.err_file)?).map_err(moved)?;
    std::env::set_current_dir("/").map_err(|error| disk(&error, "enter", Path::new("/")))
}

fn append(
    path: &Path,
    open: impl FnOnce(&mut OpenOptions, &Path) -> io::Result<File>,
) -> Result<File, Problem> {
    let mut options = OpenOptions::new();
    open(options.create(true).append(true).mode(0o600), path).map_err(|error| disk(&error, "write", path))
}
