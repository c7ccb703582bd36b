//! Fixed clock and seed, and a ready agent, for tests.
