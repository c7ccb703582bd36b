//! Exchange: a whole pull between two replicas that are both at hand.
//!
//! For folders that are carried from machine to machine. The messages are encoded and decoded as on a
//! connection, so that every bound holds here, too. Both ways is two exchanges.

use polykey_core::NodeId;

use super::message::{MessageError, Request, Response};
use super::pull::{Pull, PullReport, Seen};
use super::replica::Replica;
use super::serve::serve_holder;

/// Why an exchange did not come to its end. What was stored until then stays.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError<F: std::error::Error + 'static, T: std::error::Error + 'static> {
    /// The side that gives failed.
    #[error("the replica that gives failed")]
    From(#[source] F),
    /// The side that takes failed.
    #[error("the replica that takes failed")]
    To(#[source] T),
    /// A message was over its bounds.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Brings into `to` what `from` has and it lacks. `me` is the node in whose hands both are: evidence names it as
/// the sender, and if it was removed it is told so and gets no more. `before` is what [`PullReport::seen`]
/// was the last time. `progress` is shown the report after each message.
///
/// # Errors
/// [`ExchangeError`]. That one side has nothing to give, or nonsense, is no error but an
/// [`Outcome`](super::Outcome).
pub fn exchange<F: Replica, T: Replica>(
    from: &F,
    to: &mut T,
    me: NodeId,
    before: Seen,
    progress: &mut dyn FnMut(&PullReport),
) -> Result<PullReport, ExchangeError<F::Error, T::Error>>
where
    F::Error: 'static,
    T::Error: 'static,
{
    let mut pull = Pull::new(me, me, before);
    while let Some(request) = pull.next(to).map_err(ExchangeError::To)? {
        let request = Request::decode(&request.encode())?;
        let response = serve_holder(from, &me, &request).map_err(ExchangeError::From)?;
        let response = Response::decode(&response.encode().into())?;
        pull.receive(to, response).map_err(ExchangeError::To)?;
        progress(pull.report());
    }
    Ok(pull.report().clone())
}
