//! The command line of polykey.
