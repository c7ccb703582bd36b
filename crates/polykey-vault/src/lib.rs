//! Encrypted, versioned filesystems of secrets.
