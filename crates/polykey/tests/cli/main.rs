//! The program as its users meet it: real processes in temporary homes.

mod help;
mod home;
mod keys;
mod lifecycle;
mod usage;
