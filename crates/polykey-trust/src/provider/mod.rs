//! Identity providers: where an identity's page is, and how to read it.
//!
//! No socket is opened here. A [`Reading`] says what to [fetch](Fetch) next, takes the [answer](Answer), and
//! ends with the text of a page, for [`armour::find`](crate::armour::find) to search. Which software answers at
//! which host is a table that the user can add to; every base URL can be set.
//!
//! What a provider says is data: bounded, parsed strictly, never rendered. URLs are made from the table and from
//! an [`IdentityId`], whose characters need no escaping; the one URL that comes from an answer must stay on the
//! host that gave it. Whoever fetches refuses private addresses where the table has no base URL of the user's
//! own, follows no redirect, and stops at [`MAX_BODY_LEN`] bytes.

mod forge;
mod github;
pub mod login;
mod mastodon;
mod site;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::identity::{DNS, HTTPS, IdentityId, is_domain};

pub use forge::{GitLab, Gitea};
pub use github::{Circle, FILE_NAME, GitHub, PEOPLE_A_PAGE};
pub use mastodon::Mastodon;
pub use site::{DnsTxt, WellKnown};

/// Longest answer that is read, in bytes.
pub const MAX_BODY_LEN: usize = 1 << 20;
/// Most fetches for one look at an identity.
pub const MAX_FETCHES: usize = 4;

/// Why an answer could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// Nobody said which software answers at the host.
    #[error("it is not known what kind of service {host} is")]
    Unknown {
        /// The provider of the identity.
        host: String,
    },
    /// The base URL is none that we use.
    #[error("a base URL is http or https, a host, perhaps a port and a path, and nothing else")]
    BaseUrl,
    /// The service asks to come back later.
    #[error("the service asks to wait")]
    Busy {
        /// How long, when it says so.
        wait: Option<Duration>,
    },
    /// The service refuses, or has a fault.
    #[error("the service answered with status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not what such a service sends.
    #[error("the answer of the service is malformed")]
    Malformed,
    /// The answer speaks about another account than was asked for.
    #[error("the service answered about another account")]
    OtherAccount,
    /// The answer points to another host.
    #[error("the service points to another host")]
    OtherHost,
}

/// How an HTTP request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Sends a body.
    Post,
}

/// An HTTP request, complete.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Where to.
    pub url: String,
    /// Header fields beside those that every client sends.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent; its type stands in the header fields.
    pub body: Option<String>,
}

impl Request {
    fn get(url: String, accept: &'static str) -> Request {
        Request {
            method: Method::Get,
            url,
            headers: vec![("accept", accept.to_owned())],
            body: None,
        }
    }
}

impl fmt::Debug for Request {
    /// Without header fields and body: a token may stand in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetch {
    /// The TXT records of a name.
    Txt {
        /// The name, without a dot at its end.
        name: String,
    },
    /// A web page.
    Http(Request),
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// TXT records, the strings of each joined; none when the name does not exist or has none.
    Txt(Vec<String>),
    /// An HTTP response.
    Http {
        /// Its status.
        status: u16,
        /// Its body, at most [`MAX_BODY_LEN`] bytes.
        body: Vec<u8>,
        /// What its `retry-after` field says.
        wait: Option<Duration>,
    },
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// This is to be fetched next.
    Fetch(Fetch),
    /// The text of the page.
    Page(String),
    /// There is no such page, record or account.
    Gone,
}

/// How one kind of service is asked. `stage` counts the answers that came before, from 0.
pub trait Provider: fmt::Debug + Send + Sync {
    /// What is fetched first for `identity`.
    fn first(&self, identity: &IdentityId) -> Fetch;

    /// What follows from the answer to the fetch of `stage`.
    ///
    /// # Errors
    /// [`ProviderError`]: the look failed, and says nothing about the identity.
    fn next(&self, identity: &IdentityId, stage: usize, answer: &Answer) -> Result<Step, ProviderError>;
}

/// The base URL of a service: scheme, host, port and path, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Reads a base URL from a configuration.
    ///
    /// # Errors
    /// [`ProviderError::BaseUrl`].
    pub fn parse(text: &str) -> Result<BaseUrl, ProviderError> {
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or(ProviderError::BaseUrl)?;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:[]".contains(&b);
        if rest.is_empty() || rest.starts_with('/') || rest.len() > 255 || !rest.bytes().all(is_plain) {
            return Err(ProviderError::BaseUrl);
        }
        Ok(BaseUrl(text.trim_end_matches('/').to_owned()))
    }

    fn of_host(host: &str) -> BaseUrl {
        BaseUrl(format!("https://{host}"))
    }

    /// The URL of `path`, which begins with a slash.
    fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// True for a URL on this scheme, host and port.
    fn is_origin_of(&self, url: &str) -> bool {
        let origin = |url: &str| {
            let (scheme, rest) = url.split_once("://")?;
            let host = rest.split(['/', '?', '#', '\\']).next()?;
            Some((scheme.to_ascii_lowercase(), host.to_ascii_lowercase()))
        };
        url.len() <= 2048
            && url.bytes().all(|b| b.is_ascii_graphic())
            && !url.contains('@')
            && origin(url).is_some_and(|theirs| Some(theirs) == origin(&self.0))
    }
}

/// What kind of software a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Gitea or Forgejo.
    Gitea,
    /// Mastodon, or another that speaks WebFinger and ActivityPub.
    Mastodon,
}

impl ServiceKind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceKind::GitHub => "github",
            ServiceKind::GitLab => "gitlab",
            ServiceKind::Gitea => "gitea",
            ServiceKind::Mastodon => "mastodon",
        }
    }

    /// The kind with this name in a configuration.
    pub fn parse(name: &str) -> Option<ServiceKind> {
        Some(match name {
            "github" => ServiceKind::GitHub,
            "gitlab" => ServiceKind::GitLab,
            "gitea" | "forgejo" => ServiceKind::Gitea,
            "mastodon" | "activitypub" => ServiceKind::Mastodon,
            _ => return None,
        })
    }
}

/// Which service answers for which provider.
#[derive(Debug)]
pub struct Providers {
    services: BTreeMap<String, Box<dyn Provider>>,
}

impl Default for Providers {
    /// DNS, HTTPS, and the large public services.
    fn default() -> Self {
        let mut providers = Providers {
            services: BTreeMap::new(),
        };
        providers.set(DNS, Box::new(DnsTxt));
        providers.set(HTTPS, Box::new(WellKnown::default()));
        for (host, kind) in [
            ("github.com", ServiceKind::GitHub),
            ("gitlab.com", ServiceKind::GitLab),
            ("codeberg.org", ServiceKind::Gitea),
            ("mastodon.social", ServiceKind::Mastodon),
        ] {
            providers
                .add(host, kind, None)
                .expect("hosts of the table are hosts");
        }
        providers
    }
}

impl Providers {
    /// Says what kind of service a host is, and where it answers when not at the host itself.
    ///
    /// # Errors
    /// [`ProviderError::Unknown`] when `host` is no host name.
    pub fn add(&mut self, host: &str, kind: ServiceKind, base: Option<BaseUrl>) -> Result<(), ProviderError> {
        if !is_domain(host) {
            return Err(ProviderError::Unknown {
                host: host.to_owned(),
            });
        }
        let at = base.clone().unwrap_or_else(|| BaseUrl::of_host(host));
        let service: Box<dyn Provider> = match kind {
            ServiceKind::GitHub => Box::new(GitHub::at(host, base)),
            ServiceKind::GitLab => Box::new(GitLab::at(at)),
            ServiceKind::Gitea => Box::new(Gitea::at(at)),
            ServiceKind::Mastodon => Box::new(Mastodon::at(at)),
        };
        self.set(host, service);
        Ok(())
    }

    /// Sets who answers for a provider.
    pub fn set(&mut self, provider: &str, service: Box<dyn Provider>) {
        self.services.insert(provider.to_owned(), service);
    }

    /// Begins a look at `identity`.
    ///
    /// # Errors
    /// [`ProviderError::Unknown`].
    pub fn read(&self, identity: &IdentityId) -> Result<Reading<'_>, ProviderError> {
        let service = self.services.get(identity.provider());
        let service = service.ok_or_else(|| ProviderError::Unknown {
            host: identity.provider().to_owned(),
        })?;
        Ok(Reading {
            fetch: service.first(identity),
            service: &**service,
            identity: identity.clone(),
            stage: 0,
        })
    }
}

/// A look at an identity, as far as it has come.
#[derive(Debug)]
pub struct Reading<'p> {
    service: &'p dyn Provider,
    identity: IdentityId,
    stage: usize,
    fetch: Fetch,
}

impl Reading<'_> {
    /// What is to be fetched now.
    pub fn fetch(&self) -> &Fetch {
        &self.fetch
    }

    /// Takes the answer to [`Reading::fetch`]; after [`Step::Fetch`] that is the next one.
    ///
    /// # Errors
    /// [`ProviderError`]: the look failed.
    pub fn answer(&mut self, answer: &Answer) -> Result<Step, ProviderError> {
        if matches!(answer, Answer::Http { body, .. } if body.len() > MAX_BODY_LEN) {
            return Err(ProviderError::Malformed);
        }
        let step = self.service.next(&self.identity, self.stage, answer)?;
        if let Step::Fetch(fetch) = &step {
            self.stage += 1;
            if self.stage >= MAX_FETCHES {
                return Err(ProviderError::Malformed);
            }
            self.fetch = fetch.clone();
        }
        Ok(step)
    }
}

/// The body of an answer with status 200. 404 and 410 are `None`: the thing is gone.
fn body(answer: &Answer) -> Result<Option<&[u8]>, ProviderError> {
    match answer {
        Answer::Http {
            status: 200, body, ..
        } => Ok(Some(body)),
        Answer::Http {
            status: 404 | 410, ..
        } => Ok(None),
        Answer::Http {
            status: 429, wait, ..
        } => Err(ProviderError::Busy { wait: *wait }),
        Answer::Http {
            status: 403 | 503,
            wait: Some(wait),
            ..
        } => Err(ProviderError::Busy { wait: Some(*wait) }),
        Answer::Http { status, .. } => Err(ProviderError::Status { status: *status }),
        Answer::Txt(_) => Err(ProviderError::Malformed),
    }
}

/// As [`body`], read as JSON.
fn json(answer: &Answer) -> Result<Option<Value>, ProviderError> {
    body(answer)?
        .map(|body| serde_json::from_slice(body).map_err(|_| ProviderError::Malformed))
        .transpose()
}

/// Checks that an answer is about the account that was asked for. Services give names back in their own case.
fn same_account(value: &Value, identity: &IdentityId) -> Result<(), ProviderError> {
    let name = value.as_str().ok_or(ProviderError::Malformed)?;
    if name.eq_ignore_ascii_case(identity.identity()) {
        Ok(())
    } else {
        Err(ProviderError::OtherAccount)
    }
}

#[cfg(test)]
mod tests;
