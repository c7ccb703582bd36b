//! Why something that this crate stores could not be read or changed.

use polykey_core::NodeId;
use polykey_core::codec::CodecError;
use polykey_store::StoreError;

use crate::claim::ClaimError;
use crate::sigchain::ChainError;

/// Why the book of chains, or another store of this crate, did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A row is not what we write there.
    #[error("a stored row of {what} is damaged")]
    Row {
        /// What the row is about.
        what: &'static str,
        /// What is wrong with it.
        source: CodecError,
    },
    /// A stored claim is none.
    #[error("a stored claim of node {node} is damaged")]
    Claim {
        /// Whose chain it is in.
        node: NodeId,
        /// What is wrong with it.
        source: Box<ClaimError>,
    },
    /// An entry or a chain is not acceptable.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// There is a chain of this node already.
    #[error("node {node} has a sigchain already")]
    Founded {
        /// The node.
        node: NodeId,
    },
    /// There is no chain of this node here.
    #[error("the sigchain of node {node} is not here")]
    Unknown {
        /// The node.
        node: NodeId,
    },
    /// There are as many rows as there may be.
    #[error("no more than {limit} {what} are kept")]
    Full {
        /// What is full.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl TrustError {
    pub(crate) fn row(what: &'static str) -> impl Fn(CodecError) -> TrustError {
        move |source| TrustError::Row { what, source }
    }
}
