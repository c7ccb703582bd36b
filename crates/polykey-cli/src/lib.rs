//! The command line of polykey.

pub mod escape;
pub mod short_options;
pub mod table;
