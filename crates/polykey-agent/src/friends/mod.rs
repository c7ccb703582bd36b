//! Recovery with friends: they hold sealed shares of the recovery code, and give them back when the user lost all else.
//!
//! Three sides, each in a file of its own:
//!
//! - [`owner`]: splits the code, keeps the signed statement and who holds which share, lets holders prove that they
//!   have theirs, and objects to a recovery that it did not ask for. Own devices object, too.
//! - [`holder`]: keeps a share for somebody, takes the requests for it, and releases it when its user agreed and the
//!   waiting time is over.
//! - [`asker`]: a new node that asks the friends of a lost one, and puts together what they release.
//!
//! What nodes say to each other is in [`message`], what waits for a node that is away in [`errands`], what users are
//! told in [`news`], and all of it on the disk in [`rows`].
//!
//! Always: neither the code nor a share stays at the owner; a share is stored at its holder in the sealed database
//! and leaves it only sealed to whoever asked, after the user's word and the waiting time; "nothing is held" and
//! "not for you" are one answer. Design and layouts: docs/format.md, "Shares of a recovery code".

pub mod asker;
pub mod errands;
pub mod holder;
pub mod message;
pub mod news;
pub mod owner;
pub mod rows;
#[cfg(test)]
mod trials;

use std::sync::Arc;
use std::time::Duration;

use polykey_api::Problem;
use polykey_core::NodeId;

use crate::agent::Agent;
use crate::blocking::blocking;
use crate::node::Node;
use crate::peer::limits::Standing;
use crate::peer::{Answer, Refusal};
use message::Request;

/// Owners whose shares one node holds, at most.
pub const MAX_HELD: usize = 256;
/// Open requests for the share of one owner, at most.
pub const MAX_OPEN: usize = 8;
/// Requests for the share of one owner that were ended and are remembered, at most.
pub const MAX_ENDED: usize = 64;
/// How long a request stays open.
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Warnings that a node remembers, at most, and of these those of one holder.
pub const MAX_WARNINGS: usize = 256;
/// See [`MAX_WARNINGS`].
pub const MAX_WARNINGS_OF_ONE: usize = 16;
/// Friends that a node asks for the shares of one owner, at most.
pub const MAX_ASKED: usize = 32;

/// What is answered, or why nothing is.
pub type Answered = Result<message::Answer, Refusal>;

impl Agent {
    /// Another node says something about shares. Nothing of it was checked yet.
    pub(crate) async fn answer_friend(
        &self,
        node: Arc<Node>,
        from: NodeId,
        standing: Standing,
        request: Request,
    ) -> Result<Answer, Problem> {
        // What follows from it goes out as soon as may be: warnings, and vetoes to those who warn late.
        let has_sequel = matches!(request, Request::Ask { .. } | Request::Warn { .. });
        let leaves_share = matches!(request, Request::Leave { .. });
        let answered = blocking(move || match request {
            Request::Leave { split, sealed } => holder::take(&node, from, standing, split, &sealed),
            Request::Replace { split } => holder::let_go(&node, from, split),
            Request::GiveUp { split } => owner::hear_of_loss(&node, from, split),
            Request::Prove { split, nonce } => holder::prove(&node, from, split, &nonce),
            Request::Ask {
                owner,
                start,
                records,
            } => holder::hear(&node, from, owner, start, records),
            Request::Fetch { owner } => holder::release(&node, from, owner),
            Request::Warn {
                owner,
                asker,
                arrived,
                until,
            } => owner::hear_warning(&node, (from, standing), owner, asker, (arrived, until)),
            Request::Veto { owner, asker } => holder::hear_veto(&node, from, owner, asker),
        });
        let answered = answered.await?;
        if has_sequel && answered.is_ok() {
            self.deliver_soon();
        }
        // Who its devices are, and what it said, is needed on the day when it cannot be asked any more.
        if leaves_share && answered.is_ok() {
            let agent = self.clone();
            tokio::spawn(async move { agent.look_at_chain(from).await });
        }
        Ok(match answered {
            Ok(answer) => Answer::Friend(answer),
            Err(refusal) => Answer::refused(refusal),
        })
    }

    /// Brings what waits to whoever can be reached, in the background.
    pub(crate) fn deliver_soon(&self) {
        let agent = self.clone();
        tokio::spawn(async move { agent.deliver_errands(None).await });
    }
}
