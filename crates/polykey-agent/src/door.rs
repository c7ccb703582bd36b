//! The one door: nothing of the node is reached but through it.
//!
//! A request becomes a [`Caller`]: who the kernel says is at the other end, and what credentials came
//! along. [`Agent::enter`] checks them, leaves an audit record whatever the answer, and gives a [`Pass`];
//! only a pass leads to the [`Node`].

use std::sync::Arc;
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use polykey_api::{Code, Problem};
use polykey_core::scrub::{SHALLOW, scrubbed};
use polykey_core::{NodeId, SecretBytes};

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::node::Node;

/// Who is at the other end of a connection, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The process, where the system tells.
    pub pid: Option<u32>,
}

/// What a request brought along to prove its right.
#[derive(Debug)]
pub enum Credentials {
    /// Nothing.
    None,
    /// The node's password.
    Password(SecretBytes),
    /// The token of a session.
    Token(SecretBytes),
    /// A header that is neither.
    Malformed,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A process of this machine, on the socket.
    Process(Peer),
    /// Another node, which the connection has proven.
    Node(NodeId),
}

/// One request's origin. It has passed no check yet.
#[derive(Debug)]
pub struct Caller {
    /// Who is at the other end.
    pub origin: Origin,
    /// What it brought along.
    pub credentials: Credentials,
}

impl Caller {
    /// The caller of a request with these headers.
    pub fn new(peer: Peer, headers: &HeaderMap) -> Self {
        Caller {
            origin: Origin::Process(peer),
            credentials: scrubbed::<SHALLOW, _>(|| credentials(headers)),
        }
    }

    /// The caller of a request of another node. It passes [`Agent::admit`] only.
    pub fn node(node: NodeId) -> Self {
        Caller {
            origin: Origin::Node(node),
            credentials: Credentials::None,
        }
    }
}

/// What a caller wants to do, for the checks and for the audit record.
#[derive(Debug, Clone)]
pub struct Action {
    /// Path of the event, such as `secrets.read`.
    pub event: &'static str,
    /// The vault, where one is named.
    pub vault: Option<String>,
    /// Secrets or other objects that are named.
    pub targets: Vec<String>,
}

impl Action {
    /// An action on the node as a whole.
    pub fn new(event: &'static str) -> Self {
        Action {
            event,
            vault: None,
            targets: Vec::new(),
        }
    }

    /// The same in `vault`.
    #[must_use]
    pub fn vault(mut self, vault: impl Into<String>) -> Self {
        self.vault = Some(vault.into());
        self
    }

    /// The same on `target` too.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.targets.push(target.into());
        self
    }
}

/// Proof that the door let a caller through, and the way to the node.
pub struct Pass {
    node: Arc<Node>,
    session: String,
}

impl Pass {
    /// The node. It stays usable for as long as it is held, also while `lockall` waits for it.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// `password`, or the name of the session.
    pub fn session(&self) -> &str {
        &self.session
    }
}

impl Agent {
    /// Lets `caller` do `action`, or refuses. Both leave an audit record.
    ///
    /// # Errors
    /// [`Code::Locked`] while the keys are locked; else [`Code::Unauthenticated`],
    /// [`Code::WrongPassword`] or [`Code::BadToken`]; [`Code::Io`] when no audit record can be stored or wait.
    pub async fn enter(&self, caller: &Caller, action: Action) -> Result<Pass, Problem> {
        let checked = self.check(caller, &action).await;
        match &checked {
            Ok(pass) => self.record(caller, &action, Some(pass.session())),
            Err(_) => self.record(caller, &action, None),
        }
        checked
    }

    /// As [`Agent::enter`], for an action whose objects are known only after looking: a refusal is recorded
    /// here, and the caller records what it found by [`Agent::record`] before it gives any of it away.
    ///
    /// # Errors
    /// As [`Agent::enter`].
    pub async fn enter_to_look(&self, caller: &Caller, action: &Action) -> Result<Pass, Problem> {
        let checked = self.check(caller, action).await;
        if checked.is_err() {
            self.record(caller, action, None);
        }
        checked
    }

    /// Lets another node in, as far as the door can tell: what it may see of a vault is for the vault's charter
    /// to say. The caller records what came of it, by [`Agent::record`].
    ///
    /// # Errors
    /// [`Code::Locked`] while the keys are locked; [`Code::NotAllowed`] for a node that is blocked, or a
    /// stranger where `right` wants a contact.
    pub fn admit(&self, caller: &Caller, right: Right) -> Result<Pass, Problem> {
        let Origin::Node(id) = caller.origin else {
            return Err(not_for_you());
        };
        let node = self.node().ok_or_else(locked)?;
        let allowed = match right {
            Right::Anybody => !node.contacts.is_blocked(&id),
            Right::Contact => node.contacts.is_contact(&id),
        };
        if !allowed {
            return Err(not_for_you());
        }
        if node.audit.is_full() {
            return Err(no_record("too many wait"));
        }
        Ok(Pass {
            node,
            session: "peer".to_owned(),
        })
    }

    async fn check(&self, caller: &Caller, action: &Action) -> Result<Pass, Problem> {
        if let Origin::Node(_) = caller.origin {
            return Err(not_for_you());
        }
        let node = self.node().ok_or_else(locked)?;
        let session = match &caller.credentials {
            Credentials::None => {
                return Err(Problem::new(Code::Unauthenticated, "the agent wants a password")
                    .hint("run `polykey agent unlock`, or set PK_PASSWORD"));
            }
            Credentials::Malformed => {
                return Err(Problem::new(Code::BadToken, "the credentials cannot be read"));
            }
            Credentials::Token(token) => {
                self.sessions()
                    .find(token.expose(), Instant::now())
                    .ok_or_else(|| {
                        Problem::new(Code::BadToken, "the session has ended")
                            .hint("run `polykey agent unlock`, or set PK_PASSWORD")
                    })?
            }
            Credentials::Password(password) => {
                let turn = self.backoff().turn().await;
                if node.is_password(password) {
                    turn.right();
                    "password".to_owned()
                } else {
                    turn.wrong();
                    return Err(wrong_password());
                }
            }
        };
        // Nothing is done that leaves no record; but there must be a way to end what cannot go on.
        if node.audit.is_full() && !ENDS.contains(&action.event) {
            let audit = node.clone();
            blocking(move || audit.audit.flush().map_err(|error| no_record(&error))).await?;
        }
        Ok(Pass { node, session })
    }
}

/// Actions that are let through although their record finds no place.
const ENDS: &[&str] = &["agent.stop", "agent.lockall"];

/// The answer while the audit log takes nothing, and nothing waits for it any more.
fn no_record(error: &str) -> Problem {
    Problem::new(
        Code::Io,
        format!("no audit record can be stored, so nothing is done: {error}"),
    )
    .hint("make room where the disk is full; else run `polykey agent stop`, then try again")
}

/// What another node must be for a request to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Not blocked.
    Anybody,
    /// Known.
    Contact,
}

/// The answer to another node that may not, and for what is not there: it is not told which.
fn not_for_you() -> Problem {
    Problem::new(Code::NotAllowed, "there is no such thing here for that caller")
}

/// The answer to everything while the keys are locked.
pub fn locked() -> Problem {
    Problem::new(Code::Locked, "the agent is locked").hint("run `polykey agent unlock`, then try again")
}

/// The answer to a wrong password.
pub fn wrong_password() -> Problem {
    Problem::new(Code::WrongPassword, "the password is wrong")
}

fn credentials(headers: &HeaderMap) -> Credentials {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return if headers.contains_key(AUTHORIZATION) {
            Credentials::Malformed
        } else {
            Credentials::None
        };
    };
    let bytes = value.as_bytes();
    if let Some(token) = bytes.strip_prefix(b"Bearer ") {
        return Credentials::Token(SecretBytes::copy_from(token));
    }
    // Basic with an empty user name: all after the first colon is the password, colons and newlines too.
    let password = bytes
        .strip_prefix(b"Basic ")
        .and_then(|text| data_encoding::BASE64.decode(text).ok())
        .map(SecretBytes::new)
        .and_then(|plain| plain.expose().strip_prefix(b":").map(SecretBytes::copy_from));
    password.map_or(Credentials::Malformed, Credentials::Password)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::audit::Entry;
    use crate::peer::bench::{Bench, PASSWORD};
    use crate::pending::MAX_ENTRIES;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_done_whose_record_finds_no_place() {
        let bench = Bench::new();
        let node = bench.node();
        let caller = || Caller {
            origin: Origin::Process(Peer { uid: 1, pid: None }),
            credentials: Credentials::Password(SecretBytes::copy_from(PASSWORD)),
        };
        let enter = async |event| {
            let entered = bench.agent.enter(&caller(), Action::new(event)).await;
            entered.map(drop).map_err(|problem| problem.code)
        };
        node.db.close().expect("closes");
        assert_eq!(enter("secrets.read").await, Ok(()));
        assert!(node.audit.flush().is_err(), "the database takes nothing");
        assert_eq!(enter("secrets.read").await, Ok(()), "some records may wait");
        (0..MAX_ENTRIES).for_each(|_| node.audit.append(&Entry::default()));
        assert_eq!(enter("secrets.read").await, Err(Code::Io));
        let peer = bench.agent.admit(&Caller::node(node.id()), Right::Anybody);
        assert_eq!(peer.map(drop).map_err(|problem| problem.code), Err(Code::Io));
        for event in ENDS {
            assert_eq!(enter(event).await, Ok(()), "{event}");
        }
    }

    #[track_caller]
    fn check(header: &str, want: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(header).expect("a header value"),
        );
        let got = match credentials(&headers) {
            Credentials::None => "none".to_owned(),
            Credentials::Malformed => "malformed".to_owned(),
            Credentials::Token(t) => format!("token {}", String::from_utf8_lossy(t.expose())),
            Credentials::Password(p) => format!("password {:?}", String::from_utf8_lossy(p.expose())),
        };
        assert_eq!(got, want, "{header:?}");
    }

    #[test]
    fn credentials_are_a_password_or_a_token_and_nothing_else() {
        check("Basic OnB3", "password \"pw\"");
        check("Basic OmE6Ygpj", "password \"a:b\\nc\"");
        check("Basic Og==", "password \"\"");
        check("Bearer abc", "token abc");
        check("Basic dXNlcjpwdw==", "malformed");
        check("Basic ***", "malformed");
        check("Basic ", "malformed");
        check("basic OnB3", "malformed");
        check("Digest x", "malformed");
        check("", "malformed");
    }

    #[test]
    fn no_header_is_no_credentials_and_two_are_malformed() {
        let mut headers = HeaderMap::new();
        assert!(matches!(credentials(&headers), Credentials::None));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer a"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        assert!(matches!(credentials(&headers), Credentials::Malformed));
    }
}
