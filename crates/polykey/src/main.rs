//! The `polykey` program.

fn main() {}
