//! The calls of the API, one file a group.
//!
//! A handler's first line is its way through the door: `agent.enter(&caller, Action::new("keys.public"))`.
//! To add a call: a constant in `polykey-api`, a handler here, one line in [`routes`].

use std::time::Duration;

use axum::Router;
use polykey_api as api;

use crate::agent::Agent;
use crate::router::Routes;

pub mod agent;
pub mod audit;
pub mod changes;
pub mod devices;
pub mod discovery;
pub mod exchange;
pub mod fetch;
pub mod find;
pub mod friends;
pub mod identities;
pub mod import;
pub mod keys;
pub mod links;
pub mod nodes;
pub mod notifications;
mod opened;
pub mod people;
pub mod proofs;
pub mod recovery;
pub mod replicas;
pub mod secrets;
pub mod sharing;
pub mod transfer;
pub mod vaults;

/// A span as the API tells it.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Every call, ready to be served.
pub fn routes(agent: Agent) -> Router {
    calls().finish(agent)
}

/// Every call.
fn calls() -> Routes {
    Routes::default()
        .json(&api::agent::STATUS, agent::status)
        .json(&api::agent::STOP, agent::stop)
        .json(&api::agent::LOCK, agent::lock)
        .json(&api::agent::LOCK_ALL, agent::lock_all)
        .json(&api::agent::UNLOCK, agent::unlock)
        .json(&api::agent::LOGIN, agent::log_in)
        .json(&api::agent::CHECK, agent::check)
        .json(&api::doctor::EXAMINE, agent::examine)
        .lines(&api::audit::READ, audit::read)
        .json(&api::audit::VERIFY, audit::verify)
        .json(&api::keys::PUBLIC, keys::public)
        .json(&api::keys::EXPORT, keys::export)
        .json(&api::keys::PASSWORD, keys::password)
        .json(&api::keys::PROPOSE, keys::propose)
        .json(&api::keys::RENEW, keys::renew)
        .json(&api::keys::RESET, keys::reset)
        .upload(&api::keys::SIGN, keys::sign)
        .upload(&api::keys::VERIFY, keys::verify)
        .transform(&api::keys::ENCRYPT, keys::encrypt)
        .transform(&api::keys::DECRYPT, keys::decrypt)
        .json(&api::keys::CERTIFICATES, keys::certificates)
        .json(&api::vaults::CREATE, vaults::create)
        .json(&api::vaults::LIST, vaults::list)
        .json(&api::vaults::RENAME, vaults::rename)
        .json(&api::vaults::DELETE, vaults::delete)
        .json(&api::vaults::UNDELETE, vaults::undelete)
        .json(&api::vaults::RELOCATE, vaults::relocate)
        .lines(&api::vaults::LOG, vaults::log)
        .lines(&api::vaults::DIFF, vaults::diff)
        .json(&api::vaults::VERSION, vaults::version)
        .json(&api::vaults::PURGE, vaults::purge)
        .lines(&api::vaults::CONFLICTS, vaults::conflicts)
        .json(&api::vaults::RESOLVE, vaults::resolve)
        .json(&api::sharing::SHARE, sharing::share)
        .json(&api::sharing::CANDIDATES, sharing::candidates)
        .json(&api::sharing::UNSHARE, sharing::unshare)
        .json(&api::sharing::MEMBERS, sharing::members)
        .json(&api::sharing::PERMISSIONS, sharing::permissions)
        .json(&api::sharing::ROTATION, sharing::rotation)
        .json(&api::sharing::INVITE, sharing::invite)
        .json(&api::sharing::JOIN, sharing::join)
        .json(&api::sharing::STATUS, sharing::status)
        .json(&api::sharing::SET_ASIDE, sharing::set_aside)
        .json(&api::sharing::ADOPT, sharing::adopt)
        .json(&api::replicas::ADD, replicas::add)
        .json(&api::replicas::LIST, replicas::list)
        .json(&api::replicas::SYNC, replicas::sync)
        .json(&api::replicas::REMOVE, replicas::remove)
        .json(&api::replicas::CLONE, replicas::clone)
        .json(&api::replicas::KEPT, replicas::kept)
        .json(&api::replicas::DROP, replicas::drop_kept)
        .json(&api::notifications::SEND, notifications::send)
        .json(&api::notifications::INBOX_READ, notifications::inbox_read)
        .json(&api::notifications::INBOX_CLEAR, notifications::inbox_clear)
        .json(&api::notifications::INBOX_REMOVE, notifications::inbox_remove)
        .json(&api::notifications::OUTBOX_READ, notifications::outbox_read)
        .json(&api::notifications::OUTBOX_CLEAR, notifications::outbox_clear)
        .json(&api::notifications::OUTBOX_REMOVE, notifications::outbox_remove)
        .download(&api::secrets::FETCH, fetch::fetch)
        .download(&api::secrets::READ, fetch::read)
        .lines(&api::secrets::LIST, secrets::list)
        .json(&api::secrets::STAT, secrets::stat)
        .lines(&api::secrets::LOG, secrets::log)
        .lines(&api::secrets::FIND, find::find)
        .upload(&api::secrets::WRITE, changes::write)
        .upload(&api::secrets::IMPORT, import::import)
        .json(&api::secrets::REMOVE, changes::remove)
        .json(&api::secrets::MKDIR, changes::mkdir)
        .json(&api::secrets::TOUCH, changes::touch)
        .json(&api::secrets::MOVE, transfer::move_all)
        .json(&api::secrets::COPY, transfer::copy_all)
        .json(&api::secrets::SET, changes::set)
        .json(&api::secrets::ATTRIBUTES, changes::attributes)
        .json(&api::secrets::RESTORE, changes::restore)
        .json(&api::friends::SPLIT, friends::split)
        .json(&api::friends::LIST, friends::list)
        .json(&api::friends::DROP, friends::drop_share)
        .json(&api::friends::DRILL, friends::drill)
        .json(&api::friends::REQUEST, friends::request)
        .json(&api::friends::SHOW, friends::show)
        .json(&api::friends::APPROVE, friends::approve)
        .json(&api::friends::REFUSE, friends::refuse)
        .json(&api::friends::VETO, friends::veto)
        .json(&api::friends::RESTORE, friends::restore)
        .json(&api::identities::WORDS, identities::words)
        .json(&api::identities::TRUST, identities::trust)
        .json(&api::identities::UNTRUST, identities::untrust)
        .json(&api::identities::ALLOW, identities::allow)
        .json(&api::identities::DISALLOW, identities::disallow)
        .json(&api::identities::PERMISSIONS, identities::permissions)
        .json(&api::identities::GET, identities::get)
        .json(&api::identities::LIST, identities::list)
        .json(&api::identities::SEARCH, people::search)
        .json(&api::identities::PROVIDERS, proofs::providers)
        .json(&api::identities::CLAIM, proofs::claim)
        .json(&api::identities::UNCLAIM, proofs::unclaim)
        .lines(&api::identities::AUTHENTICATE, proofs::authenticate)
        .json(&api::identities::AUTHENTICATED, proofs::authenticated)
        .json(&api::identities::VERIFY, proofs::verify)
        .lines(&api::identities::DISCOVER, discovery::discover)
        .json(&api::identities::QUEUE, discovery::queue)
        .json(&api::nodes::ADD, nodes::add)
        .json(&api::nodes::FIND, nodes::find)
        .json(&api::nodes::PING, nodes::ping)
        .json(&api::nodes::GET_ALL, nodes::get_all)
        .json(&api::nodes::CONNECTIONS, nodes::connections)
        .json(&api::nodes::NAME, nodes::name)
        .json(&api::nodes::BLOCK, nodes::block)
        .json(&api::nodes::EXAMINE, nodes::examine)
        .json(&api::recovery::RESUME, recovery::resume)
        .json(&api::devices::PAIR, devices::pair)
        .json(&api::devices::WITHDRAW, devices::withdraw)
        .json(&api::devices::JOIN, devices::join)
        .json(&api::devices::LIST, devices::list)
        .json(&api::devices::REMOVE, devices::remove)
        .json(&api::links::INVITE, links::invite)
        .json(&api::links::CLAIM, links::claim)
        .json(&api::links::UNCLAIM, links::unclaim)
        .json(&api::links::CLAIMS, links::claims)
        .json(&api::exchange::SCAN, exchange::scan)
        .lines(&api::exchange::CLONE, exchange::clone)
        .lines(&api::exchange::PULL, exchange::pull)
        .lines(&api::exchange::SYNC, exchange::sync)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_stands_on_the_openapi_page() {
        let page = api::openapi::page();
        for path in calls().paths() {
            assert!(page.paths.paths.contains_key(*path), "{path}");
        }
    }
}
