//! Bringing one vault level with one node: the pull, and what is remembered of it.

use std::sync::Arc;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::{Clock, NodeId, VaultId};
use polykey_vault::sync::{self, Outcome, PullReport, Seen};
use polykey_vault::{Vault, VaultError};

use super::fresh::{self, Fresh};
use crate::blocking::blocking;
use crate::failure;
use crate::network::{Line, Running};
use crate::node::Node;
use crate::peer::pull::{judge, pull};
use crate::peer::{AskError, Refusal, Request};
use crate::replicas::Trouble;
use crate::replicas::allowance::{RationError, Rationed};
use crate::replicas::kept;
use crate::vaults::problem::vault_problem;

/// What came of a pull.
#[derive(Debug, Clone)]
pub struct Brought {
    /// The vault's name here.
    pub name: String,
    /// What the pull says.
    pub report: PullReport,
    /// What is wrong about how it ended.
    pub problem: Option<Problem>,
}

/// Brings in what `from` has of `vault` and we lack, and shows the vault when it was on its way in and is whole
/// now. Can be dropped at any moment; the next one goes on from there.
///
/// # Errors
/// Why there was no pull, or why it broke off. How it ended otherwise stands in what it gives.
pub async fn bring_in(
    running: &Arc<Running>,
    node: &Arc<Node>,
    from: NodeId,
    vault: VaultId,
    mut told: impl FnMut(&str, &PullReport) + Send,
) -> Result<Brought, Problem> {
    let _pulls = running.pulls(vault);
    let here = node.clone();
    let (open, before, share) = blocking(move || {
        let open = here.vaults.open_id(vault)?;
        let share = match here.vaults.is_kept(vault) {
            true => Some(here.allowance.share(|| kept::size(&here))?),
            false => None,
        };
        let before = fresh::find(&here.db, &vault, &from).map_err(|error| failure::store(&error))?;
        Ok((open, before.map_or_else(Seen::default, |fresh| fresh.seen), share))
    })
    .await?;
    let name = open.name.clone();
    let replica = Vault::clone(&open.vault);
    drop(open);
    let line = Arc::new(Line::new(running.clone(), from));
    let wrong = |error: VaultError| vault_problem("that is pulled", error);
    let is_kept = share.is_some();
    let mut came = false;
    let mut told = |report: &PullReport| {
        came = report.entries + report.commits + report.objects > 0;
        told(&name, report);
    };
    let me = running.me();
    let pulled = match share {
        None => pull(line, replica, me, before, wrong, &mut told).await,
        Some(share) => {
            let rationed = Rationed::new(replica, share);
            pull(line, rationed, me, before, RationError::problem, &mut told).await
        }
    };
    let title = node.contacts.title(&from);
    let pulled = pulled.map_err(|error| error.problem(&title));
    if is_kept {
        note_kept(node, vault, came, pulled.as_ref().err()).await?;
    }
    let report = pulled?;
    let problem = judge(&report, &title, &name).err();
    let here = node.clone();
    let level = matches!(report.outcome, Outcome::Complete | Outcome::WithoutObjects);
    let seen = report.seen.clone();
    if level {
        ask_if_whole(running, node, from, vault, &seen).await?;
        blocking(move || {
            let time = SystemClock.now();
            let row = Fresh { time, seen };
            fresh::note(&here.db, &vault, &from, &row).map_err(|error| failure::store(&error))?;
            here.vaults.finish_joining(vault).map(drop)
        })
        .await?;
    }
    Ok(Brought {
        name,
        report,
        problem,
    })
}

/// Asks a member that has all commits that are here whether it has their content, too, and notes when it has not: its
/// commits look the same.
async fn ask_if_whole(
    running: &Arc<Running>,
    node: &Arc<Node>,
    member: NodeId,
    vault: VaultId,
    seen: &Seen,
) -> Result<(), Problem> {
    let (here, seen) = (node.clone(), seen.clone());
    let ours = blocking(move || {
        let open = here.vaults.open_id(vault)?;
        let wrong = |error| vault_problem(&open.name, error);
        let state = open.vault.sync_state().map_err(wrong)?;
        let is_member = open.vault.my_role().is_some() && open.vault.role_of(&member).is_some();
        // Who lacks content itself holds nothing against others.
        if !is_member || here.vaults.is_kept(vault) || state.wanted > 0 || !state.is_held_by(&seen) {
            return Ok(None);
        }
        let ours = sync::announce(&*open.vault);
        ours.map(Some).map_err(wrong)
    });
    let Some(ours) = ours.await? else { return Ok(()) };
    let trouble = match running.ask(member, Request::Announce(ours)).await {
        Ok(_) => None,
        Err(AskError::Refused {
            refusal: Refusal::NoRoom,
            ..
        }) => Some(Trouble::NoRoom),
        // Until it says so, it is not known to have it.
        Err(_) => Some(Trouble::Incomplete),
    };
    node.replicas.note_trouble(vault, member, trouble);
    Ok(())
}

/// Notes how a pull of a vault that is kept for others went: whether something came, and whether there was room.
async fn note_kept(
    node: &Arc<Node>,
    vault: VaultId,
    came: bool,
    problem: Option<&Problem>,
) -> Result<(), Problem> {
    let full = problem.is_some_and(|problem| problem.code == Code::DiskFull);
    // Another problem says nothing about room.
    let is_news = (full || problem.is_none()) && node.allowance.note_full(vault, full);
    if is_news && full {
        tracing::warn!(%vault, "no room for more of a vault that is kept for others");
        // The members see how far this copy is, ask, and are told why.
        node.vaults.news().changed(vault);
    }
    if came {
        let here = node.clone();
        blocking(move || kept::note_changed(&here, vault)).await?;
    }
    Ok(())
}
