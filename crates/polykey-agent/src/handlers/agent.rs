//! The agent itself: status, stop, lock and unlock, sessions.

use std::time::Instant;

use polykey_api::agent::{Session, Status, UnlockRequest};
use polykey_api::doctor::Findings;
use polykey_api::{Code, Nothing, Problem};
use polykey_core::SecretBytes;

use crate::agent::{Agent, Event};
use crate::blocking::{blocking, to_the_end};
use crate::doctor;
use crate::door::{Action, Caller, Credentials};

/// Open to every process of this user: it says nothing that the lock file does not.
pub async fn status(agent: Agent, _: Caller, _: Nothing) -> Result<Status, Problem> {
    Ok(agent.status())
}

/// Ends the agent; with the password also while the keys are locked. The answer goes out first.
pub async fn stop(agent: Agent, caller: Caller, _: Nothing) -> Result<Nothing, Problem> {
    let action = Action::new("agent.stop");
    match (agent.enter(&caller, action).await, &caller.credentials) {
        (Err(problem), Credentials::Password(password)) if problem.code == Code::Locked => {
            let turn = agent.backoff().turn().await;
            let (agent, password) = (agent.clone(), SecretBytes::copy_from(password.expose()));
            to_the_end(async move { agent.check_key_file(turn, &password).await }).await?;
        }
        (entered, _) => drop(entered?),
    }
    agent.send(Event::Stop);
    Ok(Nothing {})
}

/// Ends all sessions. Locking takes no credentials: it only takes away.
pub async fn lock(agent: Agent, caller: Caller, _: Nothing) -> Result<Nothing, Problem> {
    agent.record(&caller, &Action::new("agent.lock"), Some("anybody"));
    agent.sessions().forget_all();
    Ok(Nothing {})
}

/// Ends all sessions and drops all keys.
pub async fn lock_all(agent: Agent, caller: Caller, _: Nothing) -> Result<Nothing, Problem> {
    agent.enter(&caller, Action::new("agent.lockall")).await?;
    to_the_end(async move {
        agent.lock_keys().await;
        Ok(Nothing {})
    })
    .await
}

/// Opens the keys, when they are locked, and a session.
pub async fn unlock(agent: Agent, caller: Caller, request: UnlockRequest) -> Result<Session, Problem> {
    if let Credentials::Password(password) = &caller.credentials {
        let turn = agent.backoff().turn().await;
        let agent = agent.clone();
        let caller = Caller {
            origin: caller.origin,
            credentials: Credentials::None,
        };
        let password = SecretBytes::copy_from(password.expose());
        to_the_end(async move {
            let unlocked = agent.unlock_keys(turn, &password).await;
            let session = unlocked.is_ok().then_some("password");
            agent.record(&caller, &Action::new("agent.unlock"), session);
            unlocked
        })
        .await?;
    } else if let Err(problem) = agent.enter(&caller, Action::new("agent.unlock")).await {
        // "Locked, run unlock" would be no help here.
        return Err(match problem.code {
            Code::Locked => Problem::new(
                Code::Unauthenticated,
                "the agent is locked and wants the password",
            )
            .hint("run `polykey agent unlock` on a terminal, or set PK_PASSWORD"),
            _ => problem,
        });
    }
    Ok(open_session(&agent, request))
}

/// Opens a session on an unlocked agent.
pub async fn log_in(agent: Agent, caller: Caller, request: UnlockRequest) -> Result<Session, Problem> {
    agent.enter(&caller, Action::new("session.open")).await?;
    Ok(open_session(&agent, request))
}

fn open_session(agent: &Agent, request: UnlockRequest) -> Session {
    let token = agent
        .sessions()
        .open(request.name, agent.random(), Instant::now());
    Session {
        token: String::from_utf8_lossy(token.expose()).into_owned(),
    }
}

/// Looks at everything that is sealed.
pub async fn examine(agent: Agent, caller: Caller, _: Nothing) -> Result<Findings, Problem> {
    let pass = agent.enter(&caller, Action::new("agent.examine")).await?;
    let node = pass.node().clone();
    blocking(move || {
        Ok(Findings {
            findings: doctor::examine_node(&node),
        })
    })
    .await
}

/// Says whether the credentials are good.
pub async fn check(agent: Agent, caller: Caller, _: Nothing) -> Result<Nothing, Problem> {
    agent.enter(&caller, Action::new("session.check")).await?;
    Ok(Nothing {})
}
