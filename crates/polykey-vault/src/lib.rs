//! Encrypted, versioned filesystems of secrets.

pub mod charter;
