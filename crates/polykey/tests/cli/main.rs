//! The program as its users meet it: real processes in temporary homes.

mod config;
mod crash;
mod disk;
mod env;
mod help;
mod home;
mod hostile_names;
mod init;
mod keys;
mod lifecycle;
mod readme;
mod secrets;
mod socket;
mod terminal;
mod usage;
mod vaults;
