//! Sealed tables on SQLite and object files.
