//! Typed calls to a polykey agent.
//!
//! [`find`](rendezvous::find) reads the lock file of a node path and says what lives there;
//! [`Client::connect`] connects to it; [`Client::call`] and its kin make one call of
//! `polykey-api`; [`background::start`] starts an agent.
//!
//! Always: of the agent's files only the lock file is read, and nothing is printed or asked.

pub mod background;
pub mod client;
pub mod rendezvous;

pub use client::{Auth, Client, Download, Lines};
