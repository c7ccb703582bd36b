//! Recovery: what brings a node back whose devices are lost.
//!
//! [`resume`] continues the sigchain of a node that was made on an empty disk from its recovery code, and brings its
//! vaults back from those that hold them; [`past`] says whether there is anything to continue.

pub mod past;
pub mod resume;
