//! The program as its users meet it: real processes in temporary homes.

mod config;
mod crash;
mod damage;
mod disk;
mod doctor;
mod env;
mod help;
mod home;
mod hostile_names;
mod init;
mod keepers;
mod keys;
mod leaks;
mod lifecycle;
mod listing;
mod network;
mod processes;
mod prompts;
mod readme;
mod relay;
mod secrets;
mod sharing;
mod socket;
mod terminal;
mod usage;
mod vaults;
