//! The calls of the API, one file a group.
//!
//! A handler's first line is its way through the door: `agent.enter(&caller, Action::new("keys.public"))`.
//! To add a call: a constant in `polykey-api`, a handler here, one line in [`routes`].

use axum::Router;
use polykey_api as api;

use crate::agent::Agent;
use crate::router::Routes;

pub mod agent;
pub mod audit;
pub mod keys;

/// Every call.
pub fn routes(agent: Agent) -> Router {
    Routes::default()
        .json(&api::agent::STATUS, agent::status)
        .json(&api::agent::STOP, agent::stop)
        .json(&api::agent::LOCK, agent::lock)
        .json(&api::agent::LOCK_ALL, agent::lock_all)
        .json(&api::agent::UNLOCK, agent::unlock)
        .json(&api::agent::LOGIN, agent::log_in)
        .json(&api::agent::CHECK, agent::check)
        .lines(&api::audit::READ, audit::read)
        .json(&api::audit::VERIFY, audit::verify)
        .json(&api::keys::PUBLIC, keys::public)
        .json(&api::keys::EXPORT, keys::export)
        .json(&api::keys::PASSWORD, keys::password)
        .json(&api::keys::RENEW, keys::renew)
        .json(&api::keys::RESET, keys::reset)
        .upload(&api::keys::SIGN, keys::sign)
        .upload(&api::keys::VERIFY, keys::verify)
        .transform(&api::keys::ENCRYPT, keys::encrypt)
        .transform(&api::keys::DECRYPT, keys::decrypt)
        .json(&api::keys::CERTIFICATES, keys::certificates)
        .finish(agent)
}
