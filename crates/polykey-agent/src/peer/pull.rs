//! A pull of a vault from another node.
//!
//! The state machine of [`sync`] says what to ask; what it does with the disk happens on threads for blocking
//! work. Several requests are under way at a time, as far as the line has [places](Ask::place_ahead) for them: while
//! one answer is stored the next ones come. It can be dropped at any moment: what was stored stays, and the next
//! pull goes on from there.

use std::collections::VecDeque;
use std::sync::Arc;

use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use polykey_vault::sync::{self, Outcome, Pull, PullReport, Replica, Seen};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

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

/// A request that is under way; given up on drop.
struct Asked {
    answer: JoinHandle<Result<sync::Response, AskError>>,
    place: Option<OwnedSemaphorePermit>,
}

impl Asked {
    fn send(link: Arc<impl Ask>, request: sync::Request, place: Option<OwnedSemaphorePermit>) -> Asked {
        let answer = tokio::spawn(async move {
            match link.ask(Request::Sync(request)).await? {
                Answer::Sync(response) => Ok(response),
                _ => unreachable!("answers are read as answers to their request"),
            }
        });
        Asked { answer, place }
    }

    async fn answer(&mut self) -> Result<sync::Response, AskError> {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is at its end.
            Err(error) => Err(AskError::Unreachable(Box::new(error))),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

/// Brings in what the node at the other end of `link` has of a vault and `replica` lacks. `before` is what that
/// node had the last time; `told` hears of each step.
///
/// # Errors
/// [`PullError`]. What the other node did wrong in what it sent is no error but an outcome.
pub async fn pull<R>(
    link: Arc<impl Ask>,
    replica: R,
    me: NodeId,
    before: Seen,
    wrong: fn(R::Error) -> Problem,
    mut told: impl FnMut(&PullReport) + Send,
) -> Result<PullReport, PullError>
where
    R: Replica + Send + 'static,
{
    let (mut pull, mut replica) = (Pull::new(me, link.node(), before), replica);
    let mut under_way: VecDeque<Asked> = VecDeque::new();
    let (mut answers, mut answered) = (Vec::new(), Vec::new());
    let mut lost = None;
    loop {
        let mut places: VecDeque<_> = std::iter::from_fn(|| link.place_ahead()).map(Some).collect();
        if under_way.is_empty() {
            // One request always goes out.
            places.push_front(None);
        }
        if lost.is_some() {
            places.clear();
        }
        let most = places.len();
        let step = blocking(move || {
            for answer in answers {
                pull.take(&mut replica, answer).map_err(wrong)?;
            }
            let mut requests = Vec::new();
            while requests.len() < most
                && let Some(request) = pull.next(&replica).map_err(wrong)?
            {
                requests.push(request);
            }
            Ok((pull, replica, requests))
        });
        let requests;
        (pull, replica, requests) = step.await.map_err(PullError::Here)?;
        for (request, place) in requests.into_iter().zip(places) {
            under_way.push_back(Asked::send(link.clone(), request, place));
        }
        if pull.holds_objects() {
            let store = blocking(move || {
                pull.store(&mut replica).map_err(wrong)?;
                Ok((pull, replica))
            });
            (pull, replica) = store.await.map_err(PullError::Here)?;
        }
        drop(answered);
        told(pull.report());
        if pull.report().outcome != Outcome::Unfinished {
            return Ok(pull.report().clone());
        }
        if let Some(error) = lost {
            return Err(PullError::Peer(error));
        }
        (answers, answered) = (Vec::new(), Vec::new());
        while let Some(asked) = under_way.front_mut()
            && (answers.is_empty() || asked.answer.is_finished())
        {
            match asked.answer().await {
                Ok(answer) => answers.push(answer),
                Err(error) => {
                    // What came before it is stored first.
                    lost = Some(error);
                    break;
                }
            }
            answered.extend(under_way.pop_front().map(|mut asked| asked.place.take()));
        }
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
