//! Sigchains: what this node says about itself, in the book of `polykey-trust`.
//!
//! Start at [`own::settle`].

pub mod own;
