//! Keeping ciphertext for others, and asking others to keep ours.
//!
//! A vault that is kept is a replica like any other, in which this node has no keys and which has no name here.
//! It is kept only for nodes that the user added, as far as the [allowance](super::allowance) goes; the requests of
//! others wait in the inbox, those of strangers in the strangers' box, until the user adds the node.

use std::collections::BTreeSet;
use std::sync::Arc;

use polykey_api::{Code, Problem};
use polykey_core::clock::SystemClock;
use polykey_core::random::OsRandom;
use polykey_core::statement::{Kind, Statement};
use polykey_core::{Clock, NodeId, VaultId};
use polykey_vault::charter::{Charter, Joiner, Role};
use polykey_vault::sync::{self, Announcement, Outcome, PullReport};

use super::allowance::no_room;
use super::{Copy, Place, Trouble, kept};
use crate::agent::Agent;
use crate::blocking::blocking;
use crate::node::Node;
use crate::peer::{Answer, AskError, Refusal, Request};
use crate::post::{Letter, Tray};
use crate::vaults::InUse;
use crate::vaults::problem::vault_problem;

impl Agent {
    /// Another node asks us to keep the ciphertext of a vault; if it has to wait for the user, in `tray`. The genesis
    /// was not checked yet.
    ///
    /// # Errors
    /// What goes wrong here; what is not wanted is a refusal.
    pub async fn keep_for(
        &self,
        node: Arc<Node>,
        from: NodeId,
        tray: Tray,
        vault: VaultId,
        genesis: Vec<u8>,
    ) -> Result<Answer, Problem> {
        let agent = self.clone();
        let answer = blocking(move || {
            let may_wait = || tray == Tray::Inbox || agent.manners().may_knock(&from);
            keep(&node, from, tray, vault, genesis, may_wait)
        })
        .await?;
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
            Ok(Answer::Keeping { now }) => {
                node.replicas.note_trouble(vault.id, keeper, None);
                Ok(now)
            }
            Ok(_) => unreachable!("answers are read as answers to their request"),
            Err(AskError::Refused {
                refusal: Refusal::NoRoom,
                ..
            }) => {
                node.replicas
                    .note_trouble(vault.id, keeper, Some(Trouble::NoRoom));
                Ok(false)
            }
            // It is away, or does not know us yet: its user may change that.
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

    /// Keeps what the node `from`, which the user has just added, asked for before.
    pub async fn accept_requests(&self, from: NodeId) {
        let Some(node) = self.node() else { return };
        let here = node.clone();
        let asked = blocking(move || here.post.keep_requests(from)).await;
        let asked = match asked {
            Ok(asked) => asked.into_iter().map(|(_, vault)| vault).collect::<BTreeSet<_>>(),
            Err(problem) => return tracing::warn!("{problem}"),
        };
        for vault in asked {
            // When it is away now, it asks again by itself.
            let Ok(Answer::Genesis(beginning)) = self.network().try_ask(from, Request::Genesis(vault)).await
            else {
                continue;
            };
            let kept = self
                .keep_for(node.clone(), from, Tray::Inbox, vault, beginning.genesis)
                .await;
            if let Err(problem) = kept {
                tracing::warn!("{problem}");
            }
        }
    }

    /// Tells a keeper that was just looked at what is here. What it answers is noted: it may have no room, or have
    /// dropped the vault.
    pub async fn tell_keeper(&self, keeper: NodeId, vault: VaultId, pulled: &PullReport) -> Option<Trouble> {
        let node = self.node()?;
        if pulled.outcome == Outcome::Refused {
            let here = node.clone();
            // One that has not said yes is waited for.
            let kept = blocking(move || {
                let copies = here.replicas.of(vault)?;
                Ok(copies
                    .iter()
                    .any(|copy| copy.place == Place::Node(keeper) && !copy.waiting))
            });
            if kept.await == Ok(true) {
                node.replicas.note_trouble(vault, keeper, Some(Trouble::Dropped));
            }
            return node.replicas.trouble(vault, keeper);
        }
        let here = node.clone();
        let ours = blocking(move || {
            if here.vaults.is_kept(vault) {
                return Ok(None);
            }
            here.replicas.note_kept(vault, keeper)?;
            let open = here.vaults.open_id(vault)?;
            let announcement = sync::announce(&*open.vault);
            announcement
                .map(Some)
                .map_err(|error| vault_problem(&open.name, error))
        });
        // Also when it has all commits: only the keeper knows whether it had room for their content.
        match ours.await {
            Ok(Some(announcement)) => self.announce_to(keeper, announcement).await,
            // Keepers have nothing to say to each other that an announcement has not said.
            Ok(None) => {}
            Err(problem) => tracing::debug!(%keeper, %vault, "not told: {problem}"),
        }
        node.replicas.trouble(vault, keeper)
    }

    /// Announces a vault to a member, and notes whether it has room for the news.
    pub async fn announce_to(&self, member: NodeId, announcement: Announcement) {
        let vault = announcement.vault;
        let told = self
            .network()
            .try_ask(member, Request::Announce(announcement))
            .await;
        let Some(node) = self.node() else { return };
        match told {
            Ok(_) => node.replicas.note_trouble(vault, member, None),
            Err(AskError::Refused {
                refusal: Refusal::NoRoom,
                ..
            }) => node.replicas.note_trouble(vault, member, Some(Trouble::NoRoom)),
            Err(error) => tracing::debug!(%member, %error, "not announced"),
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
                    let here = node.clone();
                    let noted = blocking(move || here.replicas.note_kept(id, keeper)).await;
                    if let Err(problem) = noted {
                        tracing::warn!("{problem}");
                    }
                }
            }
        }
    }
}

fn keep(
    node: &Node,
    from: NodeId,
    tray: Tray,
    vault: VaultId,
    genesis: Vec<u8>,
    may_wait: impl FnOnce() -> bool,
) -> Result<Answer, Problem> {
    let Ok(genesis) = Statement::verify(Kind::Charter, genesis) else {
        return Ok(Answer::refused(Refusal::Malformed));
    };
    if VaultId::from(genesis.id()) != vault || Charter::found(genesis.clone()).is_err() {
        return Ok(Answer::refused(Refusal::Malformed));
    }
    // Who has it already keeps it; whether it does is told to members alone.
    if let Ok(open) = node.vaults.open_id(vault)
        && open.vault.role_of(&from).is_some()
    {
        return Ok(Answer::Keeping { now: true });
    }
    let asked = node.post.keep_requests(from)?;
    let mut asked = asked.into_iter().filter(|(_, of)| *of == vault);
    if !node.contacts.is_trusted(&from) {
        if asked.next().is_none() && may_wait() {
            let letter = Letter::KeepRequest { from, vault };
            node.post.tell(tray, letter, SystemClock.now(), &OsRandom)?;
        }
        return Ok(Answer::Keeping { now: false });
    }
    let share = node.allowance.share(|| kept::size(node))?;
    if share.is_used_up() {
        return Ok(Answer::refused(Refusal::NoRoom));
    }
    // The user said yes to what waited.
    for (mail, _) in asked {
        node.post.remove(mail)?;
    }
    node.vaults.keep(&genesis)?;
    if node.vaults.is_kept(vault) {
        kept::note_asked(node, vault, from)?;
    }
    Ok(Answer::Keeping { now: true })
}

/// Keeps a vault from now on, since the user of this node asked for it and `from` says that its role gives no more.
///
/// # Errors
/// [`Code::DiskFull`] when nothing more may be kept; [`Code::Exists`] when the vault is here.
pub fn keep_by_choice(node: &Node, from: NodeId, genesis: &Statement) -> Result<VaultId, Problem> {
    let vault = VaultId::from(genesis.id());
    node.vaults.check_not_kept(vault, Role::Keeper)?;
    if node.allowance.share(|| kept::size(node))?.is_used_up() {
        return Err(no_room());
    }
    node.vaults.keep(genesis)?;
    if !node.vaults.is_kept(vault) {
        // It is in use here, or among those that were deleted, and is told of as to any other member.
        return node.vaults.begin_joining("kept", genesis);
    }
    kept::note_asked(node, vault, from)?;
    node.vaults.news().changed(vault);
    Ok(vault)
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

/// A keeper has new keys. Charters hold no recovery key of keepers, so its role cannot go on by the word of the keeper: an
/// admin, who knows both nodes, gives it to the new one. Vaults whose folder is absent have their turn when the
/// keeper shows its succession again.
///
/// # Errors
/// What the store or a vault says.
pub fn carry_on(node: &Node, former: NodeId, next: NodeId) -> Result<(), Problem> {
    if node.contacts.is_blocked(&next) {
        return Ok(());
    }
    for id in node.vaults.ids() {
        let Ok(vault) = node.vaults.open_id(id) else {
            continue;
        };
        let administers = vault.vault.my_role().is_some_and(Role::administers);
        if !administers || vault.vault.role_of(&former) != Some(Role::Keeper) {
            continue;
        }
        if vault.vault.role_of(&next).is_none() {
            let joiner = Joiner {
                node: next,
                role: Role::Keeper,
                keys: None,
            };
            let granted = vault.vault.grant(&joiner);
            granted.map_err(|error| vault_problem(&vault.name, error))?;
        }
        let copies = node.replicas.of(id)?;
        if let Some(copy) = copies.into_iter().find(|copy| copy.place == Place::Node(former)) {
            let moved = Copy {
                place: Place::Node(next),
                ..copy
            };
            node.replicas.note(id, &moved)?;
            node.replicas.forget(id, &Place::Node(former))?;
        }
        dismiss(&vault, former)?;
    }
    Ok(())
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
