//! Sharing between real nodes.

mod clocks;
mod copies;
mod crashes;
mod cuts;
mod intruders;
mod members;
mod post;
mod tickets;
mod ways;
