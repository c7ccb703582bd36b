//! The parts of the benchmark: see its program in `main.rs`.

pub mod calls;
pub mod cases;
pub mod ground;
pub mod growth;
pub mod history;
pub mod machine;
pub mod measure;
pub mod members;
pub mod network;
pub mod node;
pub mod others;
pub mod peers;
pub mod report;
pub mod revoke;
pub mod stream;
pub mod yardstick;
