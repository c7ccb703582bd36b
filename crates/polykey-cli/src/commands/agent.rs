//! `agent`: start, stop, lock and inspect the agent.

use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use polykey_api::agent::{LOCK, LOCK_ALL, STATUS, STOP, State, Status, UNLOCK, UnlockRequest};
use polykey_api::start::{StartOrder, Started};
use polykey_api::{Code, Nothing, Problem, openapi};
use polykey_client::Client;
use zeroize::Zeroizing;

use crate::context::{Autostart, Context};
use crate::output::Done;
use crate::password::{self, Given, Secret};
use crate::settings::MAX_WORKERS;
use crate::time;

/// An agent that was told to stop is gone well within this.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A live agent that does not answer is shown as its lock file has it after this.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// And after this, when it does take the question.
const HALTED_PATIENCE: Duration = Duration::from_secs(3);

/// What to do with the agent.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  polykey agent start --background
  polykey agent status
  polykey agent lock
  polykey agent stop")]
pub enum Command {
    /// Start the agent, making the node if there is none
    Start(Box<Start>),
    /// Show the state of the agent
    #[command(after_help = "\
Examples:
  polykey agent status
  polykey agent status --json")]
    Status,
    /// Stop the agent
    #[command(after_help = "\
Examples:
  polykey agent stop")]
    Stop,
    /// Make every command ask for the password again
    #[command(after_help = "\
Examples:
  polykey agent lock")]
    Lock,
    /// Also drop all keys from memory, until `unlock`
    #[command(after_help = "\
Examples:
  polykey agent lockall
  polykey agent unlock")]
    Lockall,
    /// Unlock the agent and open a session
    #[command(after_help = "\
Examples:
  polykey agent unlock
  polykey agent unlock --password-file password.txt")]
    Unlock,
    /// Print the OpenAPI page of the agent's socket
    #[command(after_help = "\
Examples:
  polykey agent openapi")]
    Openapi,
}

/// How to start.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  polykey agent start --background
  polykey agent start --background --recovery-code-out-file code.txt
  polykey agent start --password-file password.txt
  polykey agent start --recovery-code-file code.txt --background")]
pub struct Start {
    #[command(flatten)]
    new: NewNode,
    /// Return when the agent is live, and let it run
    #[arg(long, short = 'b')]
    background: bool,
    /// Where the output of the agent in the background goes
    #[arg(long, value_name = "FILE")]
    background_out_file: Option<PathBuf>,
    /// Where the log of the agent in the background goes
    #[arg(long, value_name = "FILE")]
    background_err_file: Option<PathBuf>,
    /// `mainnet`, `local`, `offline`, or the URL of a relay
    #[arg(long, short = 'n', value_name = "NETWORK", env = "PK_NETWORK")]
    network: Option<String>,
    /// Address on which other nodes reach this one
    #[arg(long, value_name = "ADDRESS", env = "PK_AGENT_HOST")]
    agent_host: Option<String>,
    /// Port on which other nodes reach this one
    #[arg(long, value_name = "PORT", env = "PK_AGENT_PORT", value_parser = port)]
    agent_port: Option<Port>,
    /// Nodes to begin with: `id@address:port`, parted by semicolons
    #[arg(long, value_name = "NODES", env = "PK_SEED_NODES")]
    seed_nodes: Option<String>,
    /// DNS servers to ask for the names of relays, and nobody else: `address` or `address:port`,
    /// parted by semicolons [default: those of the system]
    #[arg(long, value_name = "SERVERS", env = "PK_DNS_SERVERS")]
    dns_servers: Option<String>,
    /// Give up reaching another node after so many milliseconds [default: 5000]
    #[arg(long, value_name = "MILLISECONDS")]
    connection_timeout: Option<u64>,
    /// Threads that serve requests; `all` for one for each processor, `none` for a single one [default: 2]
    #[arg(long, short = 'w', value_name = "COUNT", value_parser = workers)]
    workers: Option<u16>,
}

impl Start {
    /// Puts what the command line and its variables say in the place of what the file says.
    fn overrule(&self, order: &mut StartOrder) {
        let mut over = Overrule(&mut order.configured);
        // An empty variable is as good as none; an empty list of nodes is one without nodes.
        let text = |given: &Option<String>| given.clone().filter(|text| !text.is_empty());
        over.put("network", &mut order.network, text(&self.network));
        over.put("agent-host", &mut order.agent_host, text(&self.agent_host));
        let port = self.agent_port.and_then(|port| port.0);
        over.put("agent-port", &mut order.agent_port, port);
        over.put("seed-nodes", &mut order.seed_nodes, self.seed_nodes.clone());
        over.put("dns-servers", &mut order.dns_servers, text(&self.dns_servers));
        let timeout = self.connection_timeout;
        over.put("connection-timeout", &mut order.connection_timeout, timeout);
        over.put("workers", &mut order.workers, self.workers);
    }
}

/// Takes settings out of the list of those that stand in the file.
struct Overrule<'a>(&'a mut Vec<String>);

impl Overrule<'_> {
    fn put<T>(&mut self, name: &str, place: &mut Option<T>, given: Option<T>) {
        if given.is_some() {
            *place = given;
            self.0.retain(|configured| configured != name);
        }
    }
}

/// A port, or nothing: an empty variable is as good as none.
#[derive(Debug, Clone, Copy)]
pub struct Port(Option<u16>);

fn port(text: &str) -> Result<Port, String> {
    if text.is_empty() {
        return Ok(Port(None));
    }
    match text.parse() {
        Ok(port) => Ok(Port(Some(port))),
        Err(_) => Err(format!("a port is a number from 0 to {}", u16::MAX)),
    }
}

/// A number of threads, 0 for as many as processors.
fn workers(text: &str) -> Result<u16, String> {
    match text {
        "all" => Ok(0),
        // The original's words for work on no further thread.
        "none" | "no" | "false" | "null" => Ok(1),
        _ => text
            .parse()
            .ok()
            .filter(|count| *count <= MAX_WORKERS)
            .ok_or_else(|| format!("a number of threads is one from 1 to {MAX_WORKERS}, `all` or `none`")),
    }
}

/// What a new node is made of; shared with `bootstrap`.
#[derive(Debug, Args)]
pub struct NewNode {
    /// Read the recovery code from this file: makes that node again, or sets a new password
    #[arg(long, value_name = "FILE")]
    recovery_code_file: Option<PathBuf>,
    /// Write the recovery code of a new node to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    recovery_code_out_file: Option<PathBuf>,
    /// Make a node with this private key (a JWK, plain or encrypted)
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<PathBuf>,
    /// Put aside what lies in the node path and make a new node
    #[arg(long)]
    fresh: bool,
    /// Work of one guess at the password: min, interactive, moderate, sensitive, max
    #[arg(long, value_name = "LEVEL", env = "PK_PASSWORD_OPS_LIMIT")]
    password_ops_limit: Option<String>,
    /// Memory of one guess at the password, by the same names
    #[arg(long, value_name = "LEVEL", env = "PK_PASSWORD_MEM_LIMIT")]
    password_mem_limit: Option<String>,
}

/// The recovery code in a file.
///
/// # Errors
/// When it cannot be read or is no text.
pub fn recovery_code_from(file: &Path) -> Result<String, Problem> {
    code_text(&password::read_file(file)?)
}

/// The recovery code that is given: in a file, or in `PK_RECOVERY_CODE`.
///
/// # Errors
/// As [`recovery_code_from`].
pub fn given_recovery_code(file: Option<&Path>) -> Result<Option<String>, Problem> {
    match file {
        Some(file) => recovery_code_from(file).map(Some),
        None => password::variable("PK_RECOVERY_CODE")
            .map(|code| code_text(&code))
            .transpose(),
    }
}

/// What was typed or read, as text.
///
/// # Errors
/// [`Code::BadData`] when it is none.
pub fn code_text(bytes: &Secret) -> Result<String, Problem> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Problem::new(Code::BadData, "the recovery code is not text"))
}

impl NewNode {
    fn recovery_code(&self) -> Result<Option<String>, Problem> {
        given_recovery_code(self.recovery_code_file.as_deref())
    }

    /// The order that these options and `password` make.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn order(&self, cx: &Context<'_>, password: &Secret) -> Result<StartOrder, Problem> {
        let private_key = match &self.private_key_file {
            None => None,
            Some(file) => Some(
                String::from_utf8(password::read_file(file)?.to_vec())
                    .map_err(|_| Problem::new(Code::BadData, "the private key file is not text"))?,
            ),
        };
        let mut base = cx.start_order(Some(password))?;
        Ok(StartOrder {
            recovery_code: self.recovery_code()?,
            private_key,
            fresh: self.fresh,
            ops_limit: self.password_ops_limit.clone().or(base.ops_limit.take()),
            mem_limit: self.password_mem_limit.clone().or(base.mem_limit.take()),
            ..base
        })
    }

    /// The password of a node that is made now: given, or asked for twice.
    ///
    /// # Errors
    /// When none can be had.
    pub fn first_password(&self, cx: &Context<'_>) -> Result<Secret, Problem> {
        if let Some(file) = &cx.global.password_file {
            return password::read_file(file);
        }
        if let Some(password) = password::variable("PK_PASSWORD") {
            return Ok(password);
        }
        password::new_password(None, "New password: ")
    }

    /// Opens the file that the recovery code shall go to, if one is named. To be called before the node is
    /// made, since a node whose code went nowhere has no way back.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn code_file(&self) -> Result<Option<CodeFile>, Problem> {
        self.recovery_code_out_file
            .as_deref()
            .map(CodeFile::open)
            .transpose()
    }
}

/// The file for the recovery code, open. What it held stays until the code is written; when none is, a file
/// that was made for it goes again.
pub struct CodeFile {
    path: PathBuf,
    file: File,
    leftover: bool,
}

impl CodeFile {
    fn open(path: &Path) -> Result<CodeFile, Problem> {
        let leftover = !path.exists();
        let opened = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        // One that was there may be open to others, and then the code would be.
        let private = opened.and_then(|file| {
            if file.metadata()?.is_file() {
                file.set_permissions(Permissions::from_mode(0o600))?;
            }
            Ok(file)
        });
        Ok(CodeFile {
            file: private.map_err(|error| cannot_write(path, &error))?,
            path: path.to_owned(),
            leftover,
        })
    }

    /// Writes the code.
    ///
    /// # Errors
    /// When that fails.
    pub fn write(mut self, words: &str) -> Result<(), Problem> {
        self.leftover = false;
        let line = Zeroizing::new(format!("{words}\n"));
        // A pipe or a terminal has nothing to take away.
        let emptied = match self.file.metadata() {
            Ok(kind) if kind.is_file() => self.file.set_len(0),
            other => other.map(drop),
        };
        emptied
            .and_then(|()| self.file.write_all(line.as_bytes()))
            .map_err(|error| cannot_write(&self.path, &error))
    }
}

impl Drop for CodeFile {
    fn drop(&mut self) {
        if self.leftover {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Problem {
    Problem::new(Code::Io, format!("cannot write {}", path.display())).caused_by(error)
}

/// Does it.
///
/// # Errors
/// The problem to tell of.
pub async fn run(cx: &Context<'_>, command: Command) -> Result<Done, Problem> {
    match command {
        Command::Start(args) => start(cx, &args),
        Command::Status => status(cx).await,
        Command::Stop => stop(cx).await,
        Command::Lock => lock(cx).await,
        Command::Lockall => lock_all(cx).await,
        Command::Unlock => unlock(cx).await,
        Command::Openapi => cx
            .out
            .answer(&openapi::page(), |page| page.to_pretty_json().unwrap_or_default()),
    }
}

/// Starts an agent, in this process or in the background.
///
/// # Errors
/// The problem to tell of.
pub fn start(cx: &Context<'_>, args: &Start) -> Result<Done, Problem> {
    let new = args.new.fresh || !cx.local.node_exists(&cx.node_path);
    let reset = !new && args.new.recovery_code()?.is_some();
    let password = match password::given(cx.global.password_file.as_deref())? {
        Given::Password(password) => password,
        Given::Token(_) => {
            return Err(Problem::new(Code::Usage, "a token does not start an agent")
                .hint("set PK_PASSWORD, or use `--password-file`"));
        }
        Given::Nothing if new || reset => args.new.first_password(cx)?,
        Given::Nothing => password::ask("Password: ")?,
    };
    let absolute = |path: &Option<PathBuf>| path.as_ref().and_then(|path| std::path::absolute(path).ok());
    let mut order = args.new.order(cx, &password)?;
    order.out_file = absolute(&args.background_out_file);
    order.err_file = absolute(&args.background_err_file);
    args.overrule(&mut order);
    let mut code = NewCode {
        file: if new { args.new.code_file()? } else { None },
        known: order.recovery_code.is_some(),
    };
    if args.background {
        let started = cx.start_background(&order)?;
        return print_started(cx, &mut code, started);
    }
    let mut printed = Ok(Done::All);
    drop(password);
    cx.local.run(order, &mut |started| {
        printed = print_started(cx, &mut code, started.clone());
    })?;
    cx.out.line("Stopping Agent");
    printed
}

/// What becomes of the recovery code of a new node.
struct NewCode {
    /// The file that it goes into, if one is named.
    file: Option<CodeFile>,
    /// Whoever starts the agent gave it. Then it is not printed: unattended starts leave what they print in logs.
    known: bool,
}

fn print_started(cx: &Context<'_>, code: &mut NewCode, mut started: Started) -> Result<Done, Problem> {
    let file = code.file.take();
    if file.is_some() || code.known {
        let words = started.recovery_code.take().map(Zeroizing::new);
        if let (Some(file), Some(words)) = (file, words) {
            file.write(&words)?;
        }
    }
    cx.out.answer(&started, |started| {
        let mut text = format!(
            "pid\t{}\nnodeId\t{}\nsocket\t{}\n",
            started.pid,
            started.node_id,
            crate::escape::name(&started.socket)
        );
        if let Some(code) = &started.recovery_code {
            let _ = writeln!(text, "recoveryCode\t{code}");
        }
        text
    })
}

/// The state and, of a live agent, its own word. An agent that was just killed holds its lock for a moment
/// longer than it answers.
async fn status(cx: &Context<'_>) -> Result<Done, Problem> {
    let begin = Instant::now();
    let status = loop {
        let status = cx.status()?;
        if status.status != State::Live {
            break status;
        }
        let socket = status.socket.clone().unwrap_or_default();
        let asked = async {
            let mut client = Client::connect(Path::new(&socket)).await.ok()?;
            client.call(&STATUS, &Nothing {}).await.ok()
        };
        // An agent that hangs, or was halted, takes the connection and never answers.
        if let Ok(Some(live)) = tokio::time::timeout(HALTED_PATIENCE, asked).await {
            break live;
        }
        if begin.elapsed() > ANSWER_PATIENCE {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    cx.out.answer(&status, status_text)
}

fn status_text(status: &Status) -> String {
    let mut text = format!("status\t{}\n", status.status.as_str());
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(status) else {
        return text;
    };
    for (name, value) in fields.iter().filter(|(name, _)| *name != "status") {
        let value = match value {
            _ if name == "startTime" => value.as_u64().map(time::show).unwrap_or_default(),
            serde_json::Value::String(value) => crate::escape::name(value).into_owned(),
            other => other.to_string(),
        };
        let _ = writeln!(text, "{name}\t{value}");
    }
    text
}

async fn stop(cx: &Context<'_>) -> Result<Done, Problem> {
    let before = cx.status()?;
    match before.status {
        State::Dead => {
            cx.out.success("the agent is not running");
            return Ok(Done::All);
        }
        State::Starting => {
            return Err(Problem::new(Code::Busy, "the agent is still starting").hint("try again in a moment"));
        }
        State::Stopping => {}
        State::Live => {
            let stopped = async {
                let mut link = cx.link(Autostart::Never).await?;
                link.ask(async |client: &mut Client| {
                    let told = client.call(&STOP, &Nothing {});
                    let told = tokio::time::timeout(STOP_PATIENCE, told).await;
                    told.unwrap_or_else(|_| Err(no_end(&before)))
                })
                .await
            };
            match stopped.await {
                // Another one told it first.
                Err(problem) if problem.code == Code::NoAgent || problem.code == Code::Io => {}
                answer => drop(answer?),
            }
        }
    }
    let begin = Instant::now();
    loop {
        let now = cx.status()?;
        // Another one may have waited for the node path; it was not told to stop.
        if now.status == State::Dead || now.pid.is_some_and(|pid| Some(pid) != before.pid) {
            break;
        }
        if begin.elapsed() > STOP_PATIENCE {
            return Err(no_end(&before));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cx.out.success("the agent has stopped");
    Ok(Done::All)
}

fn no_end(agent: &Status) -> Problem {
    let problem = Problem::new(Code::Busy, "the agent does not come to its end");
    match agent.pid {
        Some(pid) => problem.hint(format!(
            "end it the hard way: `kill -9 {pid}`; what was acknowledged is safe"
        )),
        None => problem,
    }
}

async fn lock(cx: &Context<'_>) -> Result<Done, Problem> {
    cx.remove_token()?;
    let status = cx.status()?;
    if let (State::Live, Some(socket)) = (status.status, status.socket) {
        let mut client = Client::connect(Path::new(&socket))
            .await
            .map_err(|error| Problem::new(Code::NoAgent, "the agent does not answer").caused_by(&error))?;
        client.call(&LOCK, &Nothing {}).await?;
    }
    cx.out.success("locked: the next command asks for the password");
    Ok(Done::All)
}

async fn lock_all(cx: &Context<'_>) -> Result<Done, Problem> {
    let mut link = cx.link(Autostart::Never).await?;
    link.ask(async |client: &mut Client| client.call(&LOCK_ALL, &Nothing {}).await)
        .await?;
    cx.remove_token()?;
    cx.out
        .success("locked, and all keys dropped: only `polykey agent unlock` works now");
    Ok(Done::All)
}

async fn unlock(cx: &Context<'_>) -> Result<Done, Problem> {
    let mut link = cx.link(Autostart::Never).await?;
    link.unlocks_keys();
    let request = UnlockRequest {
        name: Some("cli".to_owned()),
    };
    let session = link
        .ask(async |client: &mut Client| client.call(&UNLOCK, &request).await)
        .await?;
    cx.save_token(&session.token)?;
    cx.out.success("unlocked");
    Ok(Done::All)
}
