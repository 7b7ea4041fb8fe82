//! The command as its users meet it: the real binary, in a home folder of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "tests wait for processes, on the clock of the wall"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod add;
mod agents;
mod approve;
mod audit;
mod auth;
mod bench;
mod call;
mod completion;
mod config;
mod connect;
mod daemon;
mod docs;
mod doctor;
mod documents;
mod exit_codes;
mod fake;
mod help;
mod home;
mod import;
mod install;
mod lines;
mod list;
mod main_path;
mod policy;
mod resources;
mod scripted;
mod serve;
mod through_daemon;
mod token;
mod top;
