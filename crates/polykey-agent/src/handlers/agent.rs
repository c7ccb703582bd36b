//! The agent itself: status, stop, lock and unlock, sessions.

use std::time::Instant;

use polykey_api::agent::{Session, Status, UnlockRequest};
use polykey_api::{Code, Nothing, Problem};

use crate::agent::{Agent, Event};
use crate::door::{Action, Caller};

/// Open to every process of this user: it says nothing that the lock file does not.
pub async fn status(agent: Agent, _: Caller, _: Nothing) -> Result<Status, Problem> {
    Ok(agent.status())
}

/// Ends the agent. The answer goes out first.
pub async fn stop(agent: Agent, caller: Caller, _: Nothing) -> Result<Nothing, Problem> {
    agent.enter(&caller, Action::new("agent.stop")).await?;
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
    agent.sessions().forget_all();
    drop(agent.take_node());
    Ok(Nothing {})
}

/// Opens a session.
pub async fn unlock(agent: Agent, caller: Caller, request: UnlockRequest) -> Result<Session, Problem> {
    agent.enter(&caller, Action::new("agent.unlock")).await?;
    let token = agent
        .sessions()
        .open(request.name, agent.random(), Instant::now());
    let token = String::from_utf8(token.expose().to_vec())
        .map_err(|_| Problem::new(Code::Internal, "a token is hexadecimal"))?;
    Ok(Session { token })
}

/// Says whether the credentials are good.
pub async fn check(agent: Agent, caller: Caller, _: Nothing) -> Result<Nothing, Problem> {
    agent.enter(&caller, Action::new("session.check")).await?;
    Ok(Nothing {})
}
