//! Benchmarks of polykey beside yardsticks.

fn main() {}
