//! Looking at what identities publish: the pages of `polykey-trust`'s providers, fetched.
//!
//! [`polykey_trust::provider`] says what to fetch and how to read it; here it is fetched, within the bounds of
//! [`polykey_net::web`]. A provider whose base URL or DNS server stands in the configuration may be anywhere, also in a
//! private network, and is asked whatever the network setting; all others are on the public internet, and are asked
//! only on the network `mainnet`.
//!
//! Always: what was fetched is text, never run, followed or shown as anything else. Start at [`Elsewhere::look`].

pub mod settings;
pub mod tokens;

use std::time::Duration;

use polykey_api::{Code, Problem};
use polykey_core::Clock;
use polykey_core::clock::SystemClock;
use polykey_net::Mode;
use polykey_net::web::{Reach, Web, WebConfig, WebError, WebRequest};
use polykey_trust::identity::{DNS, HTTPS, IdentityId};
use polykey_trust::provider::login::{DeviceLogin, Token};
use polykey_trust::provider::{
    Answer, BaseUrl, Fetch, GitHub, MAX_BODY_LEN, Method, ProviderError, Providers, Request, ServiceKind,
    Step, WellKnown,
};
use tokio::sync::OnceCell;

use settings::{Service, Settings};

/// What the program calls itself to services.
const AGENT: &str = concat!("polykey/", env!("CARGO_PKG_VERSION"));

/// Why a look at an identity gave nothing: it failed, and says nothing about the identity.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The answer could not be read.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// There was no answer.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The network setting does not let it be asked.
    #[error(
        "the network {mode} asks only providers whose address stands in the configuration, not {provider}"
    )]
    Offline {
        /// The network.
        mode: Mode,
        /// The provider.
        provider: String,
    },
}

impl LookError {
    /// How long the other side asks to wait.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            LookError::Provider(ProviderError::Busy { wait }) => *wait,
            _ => None,
        }
    }

    /// What a user is told.
    pub fn problem(&self, about: &str) -> Problem {
        let code = match self {
            LookError::Provider(ProviderError::Unknown { .. }) => Code::Usage,
            LookError::Offline { .. } => Code::NotAllowed,
            LookError::Provider(ProviderError::Busy { .. }) => Code::Busy,
            LookError::Provider(_) => Code::Protocol,
            LookError::Web(_) => Code::NodeUnreachable,
        };
        let problem = Problem::new(code, format!("{about}: {self}"));
        let problem = match std::error::Error::source(self) {
            Some(source) => problem.caused_by(source),
            None => problem,
        };
        match self {
            LookError::Provider(ProviderError::Unknown { host }) => problem.hint(format!(
                "`polykey config set identities.services {host}=KIND`, with github, gitlab, gitea, forgejo or mastodon"
            )),
            LookError::Offline { .. } => {
                problem.hint("`polykey config set network mainnet`, or name its address: see `polykey help config`")
            }
            _ => problem,
        }
    }
}

/// What stands where an identity publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The text of its page.
    Page(String),
    /// There is no such page, record or account.
    Gone,
}

/// The way to the providers.
pub struct Elsewhere {
    settings: Settings,
    mode: Mode,
    web: OnceCell<Web>,
}

impl Elsewhere {
    /// The providers of these settings, on this network.
    pub fn new(settings: Settings, mode: Mode) -> Elsewhere {
        Elsewhere {
            settings,
            mode,
            web: OnceCell::new(),
        }
    }

    /// What the user chose.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The services, those of the table and those of the user.
    pub fn services(&self) -> &[Service] {
        &self.settings.services
    }

    /// The service at this host.
    pub fn service(&self, host: &str) -> Option<&Service> {
        self.services().iter().find(|service| service.host == host)
    }

    /// True when the provider may be asked on this network.
    pub fn may_ask(&self, provider: &str) -> bool {
        self.mode == Mode::Mainnet || self.is_configured(provider)
    }

    /// True when the user named the place where the provider answers.
    fn is_configured(&self, provider: &str) -> bool {
        match provider {
            DNS => !self.settings.dns_servers.is_empty(),
            HTTPS => self.settings.https.is_some(),
            host => self.service(host).is_some_and(|service| service.base.is_some()),
        }
    }

    /// Looks at what an identity publishes. `token` is one of ours for its provider.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn look(&self, identity: &IdentityId, token: Option<Token>) -> Result<Seen, LookError> {
        let providers = self.providers(identity.provider(), token)?;
        let mut reading = providers.read(identity)?;
        self.check(identity.provider())?;
        loop {
            let answer = match reading.fetch() {
                Fetch::Txt { name } => Answer::Txt(self.web().await?.txt(name).await?),
                Fetch::Http(request) => self.send(identity.provider(), request).await?,
            };
            match reading.answer(&answer)? {
                Step::Fetch(_) => {}
                Step::Page(text) => return Ok(Seen::Page(text)),
                Step::Gone => return Ok(Seen::Gone),
            }
        }
    }

    fn check(&self, provider: &str) -> Result<(), LookError> {
        match self.may_ask(provider) {
            true => Ok(()),
            false => Err(LookError::Offline {
                mode: self.mode.clone(),
                provider: provider.to_owned(),
            }),
        }
    }

    /// Makes one request of a provider.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn send(&self, provider: &str, request: &Request) -> Result<Answer, LookError> {
        self.check(provider)?;
        let asked = WebRequest {
            url: &request.url,
            headers: &request.headers,
            post: match request.method {
                Method::Get => None,
                Method::Post => Some(request.body.as_deref().unwrap_or_default()),
            },
            reach: match self.is_configured(provider) {
                true => Reach::Anywhere,
                false => Reach::Public,
            },
            max_len: MAX_BODY_LEN,
        };
        // Boxed: the library's future is long.
        let answer = Box::pin(self.web().await?.fetch(&asked)).await?;
        let now = SystemClock.now().as_millis() / 1000;
        let until = |at: u64| Duration::from_secs(at.saturating_sub(now));
        Ok(Answer::Http {
            status: answer.status,
            body: answer.body,
            wait: answer.wait.or(answer.free_at.map(until)),
        })
    }

    async fn web(&self) -> Result<&Web, LookError> {
        let make = async || {
            Web::new(&WebConfig {
                dns_servers: self.settings.dns_servers.clone(),
                roots: self.settings.roots.clone(),
                agent: AGENT,
                deadline: None,
            })
        };
        Ok(self.web.get_or_try_init(make).await?)
    }

    fn providers(&self, provider: &str, token: Option<Token>) -> Result<Providers, LookError> {
        let mut providers = Providers::default();
        if let Some(base) = &self.settings.https {
            providers.set(HTTPS, Box::new(WellKnown::at(base.clone())));
        }
        for service in self.services() {
            providers.add(&service.host, service.kind, service.base.clone())?;
        }
        if let (Some(token), Some(service)) = (token, self.service(provider))
            && service.kind == ServiceKind::GitHub
        {
            let service = GitHub::at(&service.host, service.base.clone()).with_token(token);
            providers.set(provider, Box::new(service));
        }
        Ok(providers)
    }

    /// GitHub at this host, for what only its own account may do.
    ///
    /// # Errors
    /// [`ProviderError::Unknown`] when there is no such service there.
    pub fn github(&self, host: &str) -> Result<GitHub, ProviderError> {
        match self.service(host) {
            Some(service) if service.kind == ServiceKind::GitHub => {
                Ok(GitHub::at(&service.host, service.base.clone()))
            }
            _ => Err(ProviderError::Unknown {
                host: host.to_owned(),
            }),
        }
    }

    /// The login at this host.
    ///
    /// # Errors
    /// [`Code::Usage`] when one cannot log in there; [`Code::Config`] when the configuration names no application.
    pub fn login(&self, host: &str) -> Result<DeviceLogin, Problem> {
        let Some(service) = self
            .service(host)
            .filter(|service| service.kind == ServiceKind::GitHub)
        else {
            return Err(Problem::new(Code::Usage, format!("there is no login at {host}"))
                .hint("only GitHub needs one; `polykey identities providers` lists all providers"));
        };
        let client = self.settings.github_client.as_deref().ok_or_else(|| {
            Problem::new(
                Code::Config,
                format!("no application is named with which to log in at {host}"),
            )
            .hint("`polykey config set identities.github-client CLIENT_ID`, with the id of an OAuth app that has the device flow")
        })?;
        let base = match &service.base {
            Some(base) => Ok(base.clone()),
            None => BaseUrl::parse(&format!("https://{host}")),
        };
        base.and_then(|base| DeviceLogin::at(base, client))
            .map_err(|error| Problem::new(Code::Config, "the login is not configured well").caused_by(&error))
    }
}
