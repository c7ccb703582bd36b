//! Sigchains: what this node says about itself, and what those that it knows say.
//!
//! All of them stand in the book of `polykey-trust`. [`own`] keeps the node's own chains level with its keys,
//! [`learn`] asks others for theirs, and [`succession`] follows a node to its new keys.
//!
//! Always: only the chains of this node and of nodes that it knows are kept, never those of strangers.

#[cfg(test)]
pub(crate) mod cast;
pub mod learn;
pub mod own;
pub mod succession;
