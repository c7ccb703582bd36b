//! The parts of the benchmark: see its program in `main.rs`.

pub mod cases;
pub mod measure;
pub mod node;
pub mod report;
pub mod yardstick;
