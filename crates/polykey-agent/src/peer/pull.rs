//! A pull of a vault from another node.
//!
//! The state machine of [sync](polykey_vault::sync) says what to ask; what it does with the disk happens on threads for blocking
//! work. It can be dropped at any moment: what was verified is stored, and the next pull goes on from there.

use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use polykey_vault::sync::{Outcome, Pull, PullReport, Replica, Seen};

use super::ask::{Ask, AskError};
use super::message::{Answer, Request};
use crate::blocking::blocking;

/// How a pull failed.
#[derive(Debug)]
pub enum PullError {
    /// The other node, or the way to it.
    Peer(AskError),
    /// The vault here.
    Here(Problem),
}

/// Brings in what the node at the other end of `link` has of a vault and `replica` lacks. `before` is what that
/// node had the last time; `told` hears of each step.
///
/// # Errors
/// [`PullError`]. What the other node did wrong in what it sent is no error but an outcome.
pub async fn pull<R>(
    link: &impl Ask,
    replica: R,
    me: NodeId,
    before: Seen,
    wrong: fn(R::Error) -> Problem,
    mut told: impl FnMut(&PullReport) + Send,
) -> Result<PullReport, PullError>
where
    R: Replica + Send + 'static,
{
    let mut state = (Pull::new(me, link.node(), before), replica);
    let mut answer = None;
    loop {
        let step = blocking(move || {
            let (mut pull, mut replica) = state;
            if let Some(answer) = answer {
                pull.receive(&mut replica, answer).map_err(wrong)?;
            }
            let request = pull.next(&replica).map_err(wrong)?;
            Ok((pull, replica, request))
        });
        let (pull, replica, request) = step.await.map_err(PullError::Here)?;
        told(pull.report());
        let Some(request) = request else {
            return Ok(pull.report().clone());
        };
        state = (pull, replica);
        answer = match link.ask(Request::Sync(request)).await {
            Ok(Answer::Sync(response)) => Some(response),
            Ok(_) => unreachable!("answers are read as answers to their request"),
            Err(error) => return Err(PullError::Peer(error)),
        };
    }
}

/// What is wrong about how a pull ended, if anything is; `title` is how the user calls the node, `vault` how the
/// vault.
///
/// # Errors
/// The problem to tell of.
pub fn judge(report: &PullReport, title: &str, vault: &str) -> Result<(), Problem> {
    match report.outcome {
        Outcome::Complete | Outcome::WithoutObjects => Ok(()),
        Outcome::Unfinished | Outcome::Stalled => Err(Problem::new(
            Code::NodeUnreachable,
            format!("the node {title} says that it has more of the vault {vault} and does not send it"),
        )
        .hint("another member may have it: run `polykey vaults pull` without a node")),
        Outcome::Refused => Err(Problem::new(
            Code::NotAllowed,
            format!("the node {title} has no vault {vault} for this node"),
        )),
        Outcome::Removed(_) => Err(Problem::new(
            Code::NotAllowed,
            format!("this node was removed from the vault {vault}"),
        )
        .hint("what was there before stays readable here; an admin can share it again")),
        Outcome::Hostile => Err(Problem::new(
            Code::Protocol,
            format!("the node {title} sent what no honest program sends; the rest was not taken"),
        )
        .hint("the evidence is kept; see `polykey vaults conflicts`")),
    }
}

impl PullError {
    /// What a caller is told.
    pub fn problem(self, title: &str) -> Problem {
        match self {
            PullError::Peer(error) => error.problem(title),
            PullError::Here(problem) => problem,
        }
    }
}
