//! The daemon: sessions, the one door, the HTTP API.
