//! Who somebody is, and what they may do to us.
//!
//! A node speaks through its [sigchain]: numbered, hash-linked [claims](claim) about other nodes and
//! about [identities](identity) elsewhere. What two ends say of each other is a link; connected nodes and
//! identities are a [gestalt], which *informs* who somebody is. Rights hang on node ids that the user
//! confirmed ([permission]) and reach only the devices of the same principal. Nobody signs what they did not
//! ask for ([invitation]).
//!
//! Always: no sockets and no vault bytes; what comes from elsewhere is checked before any of it is kept; when
//! gestalts merge, nothing is granted. Start at [`sigchain::Chain`], [`book`] and [`gestalt::Graph`].

pub mod armour;
#[cfg(test)]
mod attacks;
pub mod book;
#[cfg(test)]
mod cast;
pub mod claim;
pub mod discovery;
mod error;
pub mod gestalt;
pub mod identity;
pub mod invitation;
pub mod link;
pub mod permission;
pub mod proof;
pub mod provider;
pub mod sigchain;
pub mod split;
mod tables;
#[cfg(test)]
mod trial;
#[cfg(test)]
mod vectors;
pub mod words;

pub use error::TrustError;
