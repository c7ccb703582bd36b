//! Keeping ciphertext for others, and asking others to keep ours.
//!
//! A vault that is kept is a replica like any other, in which this node has no keys and which has no name here.
//! It is kept only for nodes that the user added, and up to [`QUOTA`]; others wait in the inbox.

use std::path::Path;
use std::sync::Arc;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::statement::{Kind, Statement};
use polykey_core::{Clock, NodeId, VaultId};
use polykey_vault::charter::{Charter, Joiner, Role};

use super::{Copy, Place};
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::node::Node;
use crate::peer::{Answer, AskError, Refusal, Request};
use crate::post::{Letter, Tray};
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

/// Bytes that are kept for others in all.
pub const QUOTA: u64 = 10 << 30;

impl Agent {
    /// Another node, a contact, asks us to keep the ciphertext of a vault. The genesis was not checked yet.
    ///
    /// # Errors
    /// What goes wrong here; what is not wanted is a refusal.
    pub async fn keep_for(
        &self,
        node: Arc<Node>,
        from: NodeId,
        vault: VaultId,
        genesis: Vec<u8>,
    ) -> Result<Answer, Problem> {
        let answer = blocking(move || keep(&node, from, vault, genesis)).await?;
        if answer == (Answer::Keeping { now: true })
            && let Some(node) = self.node()
        {
            node.vaults.news().changed(vault);
        }
        Ok(answer)
    }

    /// Asks a node to keep a vault; true when it does, false when it waits for its user or cannot be reached.
    ///
    /// # Errors
    /// [`Code::NotAllowed`] when it refuses.
    pub async fn ask_to_keep(
        &self,
        node: &Arc<Node>,
        vault: &InUse,
        keeper: NodeId,
    ) -> Result<bool, Problem> {
        let request = Request::Keep {
            vault: vault.id,
            genesis: vault.vault.genesis().as_bytes().to_vec(),
        };
        match self.network().try_ask(keeper, request).await {
            Ok(Answer::Keeping { now }) => Ok(now),
            Ok(_) => unreachable!("answers are read as answers to their request"),
            // It does not know us yet, or has no room: its user may change that.
            Err(
                AskError::Unreachable(_)
                | AskError::Lost(_)
                | AskError::Refused {
                    refusal: Refusal::Unavailable | Refusal::TooMuch | Refusal::Refused,
                    ..
                },
            ) => Ok(false),
            Err(error) => Err(error.problem(&node.contacts.title(&keeper))),
        }
    }

    /// Asks those keepers again that did not say yes; only `who`, if that is given.
    pub async fn settle_keepers(&self, who: Option<NodeId>) {
        let Some(node) = self.node() else { return };
        for id in node.vaults.ids() {
            let Ok(copies) = node.replicas.of(id) else {
                continue;
            };
            for copy in copies.into_iter().filter(|copy| copy.waiting) {
                let Place::Node(keeper) = copy.place else { continue };
                if who.is_some_and(|who| who != keeper) {
                    continue;
                }
                let here = node.clone();
                let Ok(open) = blocking(move || here.vaults.open_id(id)).await else {
                    continue;
                };
                if let Ok(true) = self.ask_to_keep(&node, &open, keeper).await {
                    let kept = Copy {
                        waiting: false,
                        ..copy
                    };
                    let here = node.clone();
                    let noted = blocking(move || here.replicas.note(id, &kept)).await;
                    if let Err(problem) = noted {
                        tracing::warn!("{problem}");
                    }
                }
            }
        }
    }
}

fn keep(node: &Node, from: NodeId, vault: VaultId, genesis: Vec<u8>) -> Result<Answer, Problem> {
    let Ok(genesis) = Statement::verify(Kind::Charter, genesis) else {
        return Ok(Answer::refused(Refusal::Malformed));
    };
    if VaultId::from(genesis.id()) != vault || Charter::found(genesis.clone()).is_err() {
        return Ok(Answer::refused(Refusal::Malformed));
    }
    // Who has it already keeps it.
    if node.vaults.open_id(vault).is_ok() {
        return Ok(Answer::Keeping { now: true });
    }
    if !node.contacts.is_trusted(&from) {
        let told = node.post.read(Tray::Inbox)?.into_iter().any(|mail| {
            matches!(mail.letter, Letter::KeepRequest { from: by, vault: of } if by == from && of == vault)
        });
        if !told {
            let letter = Letter::KeepRequest { from, vault };
            node.post.tell(letter, SystemClock.now(), &OsRandom)?;
        }
        return Ok(Answer::Keeping { now: false });
    }
    if kept_bytes(node)? >= QUOTA {
        return Ok(Answer::refused(Refusal::Unavailable));
    }
    node.vaults.keep(&genesis)?;
    Ok(Answer::Keeping { now: true })
}

/// How much is kept for others.
fn kept_bytes(node: &Node) -> Result<u64, Problem> {
    node.vaults
        .kept_folders()
        .iter()
        .map(|folder| size_of(folder).map_err(|error| crate::failure::disk(&error, "measure", folder)))
        .sum()
}

fn size_of(folder: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        size += match metadata.is_dir() {
            true => size_of(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(size)
}

/// Makes `keeper` a keeper of a vault in the charter.
///
/// # Errors
/// [`Code::NotAllowed`] for anybody but an admin.
pub fn appoint(node: &Node, vault: &InUse, keeper: NodeId) -> Result<(), Problem> {
    node.contacts.trust(keeper)?;
    if vault.vault.role_of(&keeper).is_some() {
        return Ok(());
    }
    let joiner = Joiner {
        node: keeper,
        role: Role::Keeper,
        keys: None,
    };
    vault
        .vault
        .grant(&joiner)
        .map(drop)
        .map_err(|error| vault_problem(&vault.name, error))
}

/// Takes a keeper out of the charter; a member that reads stays what it is.
///
/// # Errors
/// [`Code::NotAllowed`] for anybody but an admin.
pub fn dismiss(vault: &InUse, keeper: NodeId) -> Result<(), Problem> {
    if vault.vault.role_of(&keeper) != Some(Role::Keeper) {
        return Ok(());
    }
    vault
        .vault
        .revoke(&keeper)
        .map(drop)
        .map_err(|error| vault_problem(&vault.name, error))
}

/// The answer for a node whose role does not let it appoint keepers.
pub fn not_admin(vault: &InUse) -> Problem {
    Problem::new(
        Code::NotAllowed,
        format!(
            "only an admin of the vault {} may add a node as keeper",
            vault.name
        ),
    )
}
