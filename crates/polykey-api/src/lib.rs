//! Request and reply types of the agent's local API.
//!
//! Every call is an [`Endpoint`]: a method, a path, the type of its question and of its answer. The
//! agent's router, the client and the OpenAPI page are made from the same constants, so they cannot
//! drift apart. Every failure is a [`Problem`] with a code from the one table in [`code`].
//!
//! Always: no logic here. Start at [`endpoint`] for the shape of a call, at [`openapi`] for all of them.

pub mod agent;
pub mod audit;
pub mod code;
pub mod devices;
pub mod doctor;
pub mod endpoint;
pub mod exchange;
pub mod frames;
pub mod friends;
pub mod identities;
pub mod keys;
pub mod links;
pub mod nodes;
pub mod notifications;
pub mod openapi;
pub mod problem;
pub mod recovery;
pub mod relay;
pub mod replicas;
pub mod secrets;
pub mod sharing;
pub mod start;
pub mod vaults;
pub mod version;

pub use code::Code;
pub use endpoint::{Endpoint, Nothing};
pub use problem::Problem;

/// Version of the stored formats.
pub const STATE_VERSION: u64 = polykey_core::statement::FORMAT_VERSION;
/// Version of the protocol between nodes.
pub const NETWORK_VERSION: u64 = 1;
