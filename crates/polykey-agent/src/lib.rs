//! The daemon: sessions, the one door, the HTTP API.
//!
//! An [`Agent`](agent::Agent) holds one node path by its lock file and answers on a Unix socket. Every
//! request becomes a [`Caller`](door::Caller) and gets at the node only through
//! [`Agent::enter`](agent::Agent::enter), which checks who asks and leaves an audit record, also when it
//! refuses.
//!
//! Always: nothing here formats for people. Start at [`start::run`] for the life of the process, at
//! [`router`] for how a call reaches its handler, and at [`handlers`] for the calls.

pub mod agent;
pub mod audit;
pub mod backoff;
pub mod blocking;
pub mod certificate;
pub mod chains;
pub mod contacts;
pub mod devices;
pub mod discovery;
pub mod doctor;
pub mod door;
pub mod failure;
pub mod follow;
pub mod friends;
pub mod gestalts;
pub mod glob;
pub mod handlers;
pub mod harden;
pub mod jwk;
pub mod links;
pub mod lock;
pub mod network;
pub mod node;
pub mod open;
pub mod paths;
pub mod peer;
pub mod pending;
pub mod plain;
pub mod post;
pub mod providers;
pub mod put_aside;
pub mod recovery;
pub mod rekey;
pub mod relay;
pub mod replicas;
pub mod router;
pub mod server;
pub mod sessions;
pub mod sharing;
pub mod signals;
pub mod stacks;
pub mod start;
pub mod successor;
pub mod tables;
pub mod tickets;
pub mod vaults;
pub mod versions;
