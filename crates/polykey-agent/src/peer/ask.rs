//! The asking side: one request, one answer.

use std::future::Future;

use polykey_api::problem::typed;
use polykey_api::{Code, Problem};
use polykey_core::NodeId;
use polykey_net::NetError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use super::frame::{Budget, FrameError, read_only_frame, write_only_frame};
use super::message::{Answer, MessageError, Refusal, Request};

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is no way to the node, or it was lost. Asking again may help.
    #[error("the node cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The node stopped in the middle.
    #[error("the connection was lost in the middle of an answer")]
    Lost(#[from] FrameError),
    /// What came is no answer.
    #[error("the node answers what no honest program answers")]
    Broken(#[from] MessageError),
    /// The node does not want to.
    #[error("the node refuses: {text}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// What it says about it; text from elsewhere.
        text: String,
    },
}

impl AskError {
    /// True when the node did something that no honest program does.
    pub fn is_nonsense(&self) -> bool {
        matches!(
            self,
            AskError::Broken(_) | AskError::Lost(FrameError::TooLong { .. } | FrameError::Beyond)
        )
    }

    /// What a caller is told; `title` is how the user calls the node.
    pub fn problem(&self, title: &str) -> Problem {
        let problem = match self {
            AskError::Unreachable(source)
                if matches!(source.downcast_ref(), Some(NetError::WrongNode { .. })) =>
            {
                Problem::new(
                    Code::NodeUnreachable,
                    format!("another node answers where the node {title} was"),
                )
                .hint(
                    "try again: it may have new keys and tell so; if it does not, ask its owner where it is, and for its \
                     id if the keys were reset",
                )
            }
            AskError::Unreachable(_) => Problem::new(
                Code::NodeUnreachable,
                format!("the node {title} cannot be reached"),
            )
            .hint(format!("run `polykey doctor --network {}`", typed(title))),
            error if error.is_nonsense() => Problem::new(
                Code::Protocol,
                format!("the node {title} answers what no honest program answers"),
            ),
            AskError::Lost(_) | AskError::Broken(_) => Problem::new(
                Code::NodeUnreachable,
                format!("the connection with the node {title} was lost"),
            )
            .hint("try again: it goes on where it was"),
            AskError::Refused { refusal, .. } => match refusal {
                Refusal::Refused => Problem::new(
                    Code::NotAllowed,
                    format!("the node {title} has no such thing for this node"),
                ),
                Refusal::Malformed => Problem::new(
                    Code::Protocol,
                    format!("the node {title} does not understand this version of polykey"),
                ),
                Refusal::TooMuch => Problem::new(
                    Code::Busy,
                    format!("the node {title} was asked too much in a short time"),
                )
                .hint("try again in a minute"),
                Refusal::Unavailable => Problem::new(
                    Code::NodeUnreachable,
                    format!("the node {title} is there, but locked"),
                )
                .hint("it has to be unlocked there"),
                Refusal::NoRoom => Problem::new(
                    Code::DiskFull,
                    format!("the node {title} has no room left for what it keeps for others"),
                )
                .hint("its user can raise `keeper.quota` there, or drop other vaults"),
            },
        };
        problem.caused_by(self)
    }
}

/// A way to ask a node, over one connection or another.
pub trait Ask: Send + Sync + 'static {
    /// The node.
    fn node(&self) -> NodeId;

    /// Asks it. A refusal is an error here.
    ///
    /// # Errors
    /// [`AskError`].
    fn ask(&self, request: Request) -> impl Future<Output = Result<Answer, AskError>> + Send;

    /// A place for a request that goes out before the ones before it are answered, when there is one. It is given
    /// back on drop, when what the answer brought is stored.
    fn place_ahead(&self) -> Option<OwnedSemaphorePermit>;
}

/// Asks on one pair of streams.
///
/// # Errors
/// [`AskError`], also for a refusal.
pub async fn ask(
    request: &Request,
    to: &mut (impl AsyncWrite + Unpin),
    from: &mut (impl AsyncRead + Unpin),
    budget: &Budget,
) -> Result<Answer, AskError> {
    let sent = write_only_frame(to, &[request.encode().into()]).await;
    // Whoever refuses may do so before it has read all of the request.
    let (bytes, _held) = match read_only_frame(from, request.max_answer(), budget).await {
        Ok(read) => read,
        Err(error) => return Err(sent.err().unwrap_or(error).into()),
    };
    match Answer::read(request, &bytes.into())? {
        Answer::Refused(refusal, text) => Err(AskError::Refused { refusal, text }),
        answer => Ok(answer),
    }
}
