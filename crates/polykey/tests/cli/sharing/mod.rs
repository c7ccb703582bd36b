//! Sharing between real nodes.

mod aside;
mod clocks;
mod copies;
mod crashes;
mod cuts;
mod intruders;
mod members;
mod post;
mod renewal;
mod tickets;
mod ways;
