//! Typed calls to a polykey agent.
