//! What every command stands on: the options, the output, the node path, and the way to the agent.
//!
//! A command calls [`Context::call`] (or [`Context::link`] for streams) and does not care whether an agent
//! was running, which credentials were at hand or whether a person had to be asked.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use polykey_api::agent::{LOGIN, Session, State, Status, UNLOCK, UnlockRequest};
use polykey_api::doctor::Finding;
use polykey_api::relay::{RelayOrder, RelayStarted};
use polykey_api::start::{Bootstrapped, IdentityOrder, StartOrder, Started};
use polykey_api::version::Versions;
use polykey_api::{Code, Endpoint, Problem};
use polykey_client::{Auth, Client, background, rendezvous};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::args::{Global, looks_like_node_id};
use crate::output::Output;
use crate::password::{self, Given, Secret};
use crate::settings::{self, Origin, SETTINGS, Settings, bytes, find_setting};

/// A starting or stopping agent is waited for this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// A live agent that does not take the connection gets this long.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the lock file.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Longest saved token that is read; a good one has 64 bytes.
const MAX_TOKEN: u64 = 4096;
/// A person may mistype this often.
const ATTEMPTS: u32 = 3;

/// The first argument of an agent that finds its order on standard input. It stands in no help: nobody types
/// it.
pub const AGENT_CHILD: &str = "agent-with-order";

/// What a `config.toml` that cannot be used means for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadConfig {
    /// The command does not run: it might do what the file forbids.
    Refused,
    /// It runs without the defaults and says so.
    Warned,
    /// It says itself what is wrong with the file.
    Examined,
}

/// What the command line cannot do without keys or storage; the binary has the agent's crate do it.
pub trait Local {
    /// True when there is a node in this path.
    fn node_exists(&self, node_path: &Path) -> bool;
    /// What the program is made of.
    fn versions(&self) -> Versions;
    /// Looks at the files of a node path without any key.
    fn examine_files(&self, node_path: &Path) -> Vec<Finding>;
    /// Looks at all that is sealed, while no agent runs.
    fn examine_node(&self, node_path: &Path, password: &[u8]) -> Vec<Finding>;
    /// The words of a new recovery code, which no node has yet.
    fn new_recovery_code(&self) -> String;
    /// Makes a node without starting it.
    ///
    /// # Errors
    /// What went wrong.
    fn bootstrap(&self, order: &StartOrder) -> Result<Bootstrapped, Problem>;
    /// Runs an agent in this process; `ready` is called when it is live.
    ///
    /// # Errors
    /// What went wrong.
    fn run(&self, order: StartOrder, ready: &mut dyn FnMut(&Started)) -> Result<(), Problem>;
    /// Runs a relay in this process until a signal ends it; `ready` is called when it listens.
    ///
    /// # Errors
    /// What went wrong.
    fn relay(&self, order: &RelayOrder, ready: &mut dyn FnMut(&RelayStarted)) -> Result<(), Problem>;
    /// Runs an agent whose order stands on standard input.
    ///
    /// # Errors
    /// What went wrong; it was reported to the starter.
    fn run_as_child(&self) -> Result<(), Problem>;
}

/// Whether a command may start an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autostart {
    /// When it has the password, or may ask for it.
    Allowed,
    /// Never.
    Never,
}

/// What every command stands on.
pub struct Context<'l> {
    /// The options.
    pub global: Global,
    /// Where to speak.
    pub out: Output,
    /// What the environment and config.toml say.
    pub settings: Settings,
    /// The settings, and the node path, that stand on the command line.
    pub flags: BTreeSet<&'static str>,
    /// The node path, absolute.
    pub node_path: PathBuf,
    /// What needs the agent's crate.
    pub local: &'l dyn Local,
}

impl<'l> Context<'l> {
    /// Reads the options, of which `flags` stand on the command line, and the defaults of the node path.
    ///
    /// # Errors
    /// [`Code::Usage`] for what cannot be meant; [`Code::Config`] for a bad `config.toml`.
    pub fn new(
        mut global: Global,
        flags: BTreeSet<&'static str>,
        local: &'l dyn Local,
        bad_config: BadConfig,
    ) -> Result<Self, Problem> {
        // An empty variable is as good as none; an empty flag is a mistake.
        let chosen = |path: &&PathBuf| flags.contains("node-path") || !path.as_os_str().is_empty();
        let node_path = match global.node_path.as_ref().filter(chosen) {
            Some(path) => std::path::absolute(path)
                .map_err(|error| Problem::new(Code::Usage, "the node path is empty").caused_by(&error))?,
            None => default_node_path()?,
        };
        let settings = match Settings::read(&node_path) {
            Ok(settings) => settings,
            Err(problem) if bad_config == BadConfig::Refused => return Err(problem),
            Err(problem) => {
                if bad_config == BadConfig::Warned {
                    global.output().warn(&format!("no defaults: {problem}"));
                }
                Settings::default()
            }
        };
        global.take_defaults(&settings);
        Ok(Context {
            out: global.output(),
            global,
            settings,
            flags,
            node_path,
            local,
        })
    }

    /// What the file says about an option that takes one of a few words.
    pub fn default_choice<T: ValueEnum>(&self, name: &str) -> Option<T> {
        // The table of settings and the option know the same words, so this reads.
        T::from_str(self.settings.from_file(name)?, false).ok()
    }

    /// Makes one call, whatever that takes: starting an agent, asking for the password.
    ///
    /// # Errors
    /// What the agent answers, or why it could not be asked.
    pub async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        endpoint: &Endpoint<Q, A>,
        question: &Q,
    ) -> Result<A, Problem> {
        let mut link = self.link(Autostart::Allowed).await?;
        link.ask(async |client: &mut Client| client.call(endpoint, question).await)
            .await
    }

    /// A connection to the agent, for more than one call or for streams.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn link(&self, autostart: Autostart) -> Result<Link<'_, 'l>, Problem> {
        let mut given = password::given(self.global.password_file.as_deref())?;
        let nothing_given = matches!(given, Given::Nothing);
        let mut client = self.connect(autostart, &mut given).await?;
        close_to_others();
        if nothing_given && matches!(given, Given::Password(_)) {
            // A person typed it to start the agent. Without a session the next command would ask again.
            let request = UnlockRequest {
                name: Some("cli".to_owned()),
            };
            let session = client.call(&LOGIN, &request).await?;
            self.save_token(&session.token)?;
        }
        Ok(Link {
            cx: self,
            client,
            given,
            autostart,
            login: &LOGIN,
        })
    }

    /// What lives on the node path.
    ///
    /// # Errors
    /// When the lock file cannot be read.
    pub fn status(&self) -> Result<Status, Problem> {
        rendezvous::find(&self.node_path).map_err(|error| {
            Problem::new(
                Code::Io,
                format!(
                    "cannot read the state of the node path {}",
                    self.node_path.display()
                ),
            )
            .caused_by(&error)
        })
    }

    async fn connect(&self, autostart: Autostart, given: &mut Given) -> Result<Client, Problem> {
        let begin = Instant::now();
        let mut refused: Option<Instant> = None;
        loop {
            let status = self.status()?;
            match status.status {
                State::Live => match self.connect_live(&status).await {
                    Ok(mut client) => {
                        client.authorize(self.auth(given).as_ref())?;
                        return Ok(client);
                    }
                    Err(problem) if problem.code != Code::NoAgent => return Err(problem),
                    Err(problem) => {
                        if refused.get_or_insert_with(Instant::now).elapsed() > CONNECT_PATIENCE {
                            return Err(problem);
                        }
                    }
                },
                State::Dead => match self.autostart(autostart, given) {
                    // Somebody else was faster: theirs is as good.
                    Err(problem) if problem.code != Code::Busy => return Err(problem),
                    _ => {}
                },
                State::Starting | State::Stopping => {}
            }
            if begin.elapsed() > PATIENCE {
                return Err(Problem::new(
                    Code::Busy,
                    format!(
                        "the agent is {} and does not come to an end of it",
                        status.status.as_str()
                    ),
                ));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn auth(&self, given: &Given) -> Option<Auth> {
        match given {
            Given::Password(password) => Some(Auth::Password(password.to_vec())),
            Given::Token(token) => Some(Auth::Token(token.clone())),
            Given::Nothing => self.saved_token().map(Auth::Token),
        }
    }

    async fn connect_live(&self, status: &Status) -> Result<Client, Problem> {
        if let (Some(want), Some(is)) = (&self.global.node_id, &status.node_id)
            && want != is
            && !want.is_empty()
        {
            if !looks_like_node_id(want) {
                return Err(Problem::new(Code::Usage, format!("{want:?} is no node id")));
            }
            return Err(Problem::new(
                Code::NodeNotFound,
                format!("the agent is node {is}, not {want}"),
            ));
        }
        let socket = status.socket.as_deref().unwrap_or_default();
        Client::connect(Path::new(socket)).await.map_err(|error| {
            Problem::new(Code::NoAgent, format!("the agent does not answer on {socket}")).caused_by(&error)
        })
    }

    /// Starts an agent for a command that found none, if it may and can.
    fn autostart(&self, autostart: Autostart, given: &mut Given) -> Result<(), Problem> {
        let no_agent = || {
            Problem::new(
                Code::NoAgent,
                format!("no agent is running on {}", self.node_path.display()),
            )
            .hint("start one: `polykey agent start --background`")
        };
        let off = self
            .global
            .no_autostart
            .unwrap_or_else(|| self.settings.flag("autostart") == Some(false));
        if autostart == Autostart::Never || off {
            return Err(no_agent());
        }
        if !self.local.node_exists(&self.node_path) {
            return Err(Problem::new(
                Code::NoNode,
                format!("there is no node in {} yet", self.node_path.display()),
            )
            .hint("run `polykey init`, or `polykey bootstrap` in a script"));
        }
        let mut attempt = 0;
        loop {
            let asked = matches!(given, Given::Nothing);
            let password: Secret = match given {
                Given::Password(password) => password.clone(),
                Given::Token(_) => return Err(no_agent()),
                Given::Nothing => password::ask("Password: ").map_err(|_| no_agent())?,
            };
            let order = StartOrder {
                existing_only: true,
                ..self.start_order(Some(&password))?
            };
            attempt += 1;
            match self.start_background(&order) {
                Err(problem) if problem.code == Code::WrongPassword && asked && attempt < ATTEMPTS => {
                    self.out.line("The password is wrong, try again.");
                }
                Err(problem) => return Err(problem),
                Ok(_) => {
                    // Whoever was asked once need not be asked again at once.
                    *given = Given::Password(password);
                    return Ok(());
                }
            }
        }
    }

    /// An order to start the agent of this node path with what the environment and the file say.
    ///
    /// # Errors
    /// [`Code::Usage`] for a variable that holds no number where one is wanted.
    pub fn start_order(&self, password: Option<&Secret>) -> Result<StartOrder, Problem> {
        let configured = SETTINGS
            .iter()
            .filter(|setting| self.settings.resolve(setting).1 == Origin::File)
            .map(|setting| setting.name.to_owned());
        Ok(StartOrder {
            configured: configured.collect(),
            node_path: self.node_path.clone(),
            password: password.map(|password| data_encoding::BASE64.encode(password)),
            ops_limit: self.settings.given("password-ops-limit"),
            mem_limit: self.settings.given("password-mem-limit"),
            network: self.settings.given("network"),
            agent_host: self.settings.given("agent-host"),
            agent_port: self.settings.number("agent-port")?,
            audit_keep: find_setting("audit-keep")
                .and_then(|setting| self.settings.resolve(setting).0)
                .and_then(|count| count.parse().ok()),
            keeper_quota: find_setting("keeper.quota")
                .and_then(|setting| self.settings.resolve(setting).0)
                .and_then(|size| bytes(&size)),
            seed_nodes: self.settings.given("seed-nodes"),
            dns_servers: self.settings.given("dns-servers"),
            connection_timeout: self.settings.number("connection-timeout")?,
            workers: self.settings.number("workers")?,
            relays: self.settings.given("relays"),
            relay_ca: self.settings.given("relay-ca").map(PathBuf::from),
            publish: self.settings.flag("publish").unwrap_or_default(),
            members: self.settings.given("network-members"),
            identities: IdentityOrder {
                services: self.settings.given("identities.services"),
                https: self.settings.given("identities.https-url"),
                dns_server: self.settings.given("identities.dns-server"),
                ca: self.settings.given("identities.ca").map(PathBuf::from),
                recheck_hours: self.settings.number("identities.recheck-hours")?,
                github_client: self.settings.given("identities.github-client"),
            },
            verbose: self.global.verbose,
            ..StartOrder::default()
        })
    }

    /// Starts an agent in the background and waits until it lives.
    ///
    /// # Errors
    /// What the agent reports.
    pub fn start_background(&self, order: &StartOrder) -> Result<Started, Problem> {
        let program = std::env::current_exe().map_err(|error| {
            Problem::new(Code::Internal, "the program does not know where it lies").caused_by(&error)
        })?;
        // The node path is for people who look at the list of processes.
        let args: Vec<OsString> = vec![
            AGENT_CHILD.into(),
            "--node-path".into(),
            self.node_path.clone().into(),
        ];
        background::start(&program, &args, order)
    }

    fn token_path(&self) -> PathBuf {
        self.node_path.join("token")
    }

    fn saved_token(&self) -> Option<String> {
        let mut text = String::new();
        let file = settings::open_plain(&self.token_path()).ok()?;
        file.take(MAX_TOKEN).read_to_string(&mut text).ok()?;
        let token = text.trim();
        (!token.is_empty()).then(|| token.to_owned())
    }

    /// Keeps `token` for the next commands, readable to this user only.
    ///
    /// # Errors
    /// As the disk says.
    pub fn save_token(&self, token: &str) -> Result<(), Problem> {
        let path = self.token_path();
        // A name of its own, so that commands at the same time do not write into each other's file.
        let beside = self.node_path.join(format!("token.{}", std::process::id()));
        let write = || -> io::Result<()> {
            // A left-over of the same name, or a link in its place, is not written into.
            let _ = std::fs::remove_file(&beside);
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(token.as_bytes())?;
            std::fs::rename(&beside, &path)
        };
        write().map_err(|error| {
            Problem::new(Code::Io, format!("cannot write {}", path.display())).caused_by(&error)
        })
    }

    /// Forgets the saved token.
    ///
    /// # Errors
    /// As the disk says.
    pub fn remove_token(&self) -> Result<(), Problem> {
        match std::fs::remove_file(self.token_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Problem::new(Code::Io, "cannot remove the saved session").caused_by(&error))
            }
            _ => Ok(()),
        }
    }
}

/// A connection with credentials, which asks a person for the password when it must and may.
pub struct Link<'c, 'l> {
    cx: &'c Context<'l>,
    client: Client,
    given: Given,
    autostart: Autostart,
    login: &'static Endpoint<UnlockRequest, Session>,
}

impl Link<'_, '_> {
    /// The client, whatever its credentials.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// True when there was neither a password nor a token, so that a person may be asked.
    pub fn may_ask(&self) -> bool {
        matches!(self.given, Given::Nothing)
    }

    /// A password that is asked for also opens the keys.
    pub fn unlocks_keys(&mut self) {
        self.login = &UNLOCK;
    }

    /// Makes calls; when the agent wants a password, asks for it and makes them again. `calls` must
    /// therefore be repeatable: for an upload, [`Link::authorized`] comes first.
    ///
    /// # Errors
    /// What the agent answers.
    pub async fn ask<T>(
        &mut self,
        mut calls: impl AsyncFnMut(&mut Client) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut asked = false;
        let mut lost = 0;
        loop {
            match calls(&mut self.client).await {
                // The agent went before it had read the question: the next one takes it.
                Err(problem) if problem.code == Code::NoAgent && lost < ATTEMPTS => {
                    lost += 1;
                    self.client = self.cx.connect(self.autostart, &mut self.given).await?;
                }
                Err(problem) if self.may_ask() && problem.code.wants_password() && !asked => {
                    asked = true;
                    self.log_in().await?;
                }
                answer => return answer,
            }
        }
    }

    /// The client, after the credentials were checked, for calls that cannot be repeated.
    ///
    /// # Errors
    /// As [`Link::ask`].
    pub async fn authorized(&mut self) -> Result<&mut Client, Problem> {
        if self.may_ask() {
            self.ask(async |client: &mut Client| {
                client
                    .call(&polykey_api::agent::CHECK, &polykey_api::Nothing {})
                    .await
            })
            .await?;
        }
        Ok(&mut self.client)
    }

    /// Asks for the password until it is right, and keeps the session.
    async fn log_in(&mut self) -> Result<(), Problem> {
        let request = UnlockRequest {
            name: Some("cli".to_owned()),
        };
        let mut attempt = 0;
        loop {
            let password = password::ask("Password: ")?;
            self.client.authorize(Some(&Auth::Password(password.to_vec())))?;
            attempt += 1;
            match self.client.call(self.login, &request).await {
                Ok(session) => {
                    self.cx.save_token(&session.token)?;
                    return self.client.authorize(Some(&Auth::Token(session.token)));
                }
                Err(problem) if problem.code == Code::WrongPassword && attempt < ATTEMPTS => {
                    self.cx.out.line("The password is wrong, try again.");
                }
                Err(problem) => return Err(problem),
            }
        }
    }
}

/// From here on this process may hold secrets: no core dump, and no look into it by other processes of this
/// user. Not earlier, since it also closes `/proc/self/fd`, which starting an agent looks into; what a command
/// is replaced by (`secrets env -- cmd`) starts open again.
fn close_to_others() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// `$XDG_DATA_HOME/polykey`, else `~/.local/share/polykey`; on macOS the usual folder there.
fn default_node_path() -> Result<PathBuf, Problem> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    if let Some(data) = absolute("XDG_DATA_HOME") {
        return Ok(data.join("polykey"));
    }
    let below = if cfg!(target_os = "macos") {
        "Library/Application Support/polykey"
    } else {
        ".local/share/polykey"
    };
    absolute("HOME").map(|home| home.join(below)).ok_or_else(|| {
        Problem::new(Code::Usage, "there is no home folder to keep the node in")
            .hint("name one: `--node-path`, or PK_NODE_PATH")
    })
}
