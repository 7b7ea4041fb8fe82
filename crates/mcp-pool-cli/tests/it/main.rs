//! The command as its users meet it: the real binary, in a home folder of its own.

mod audit;
mod auth;
mod bench;
mod call;
mod completion;
mod doctor;
mod documents;
mod exit_codes;
mod home;
mod list;
mod resources;
