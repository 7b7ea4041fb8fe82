//! All tests of the crate but those that need a process of their own.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod abandoned;
mod auth_challenge;
mod broken_replies;
mod budget;
mod budget_fairness;
mod cancellation;
mod common;
mod control;
mod credentials;
mod deadline_races;
#[cfg(target_os = "linux")]
mod death;
mod durations;
mod eras;
mod exchange;
mod exchange_http;
mod failed_http;
mod failed_opens;
#[cfg(target_os = "linux")]
mod failed_processes;
mod fairness;
mod handshakes;
mod herd;
mod http;
mod http_replies;
mod http_streams;
mod maintenance;
mod messages;
mod minimum;
mod modules;
#[cfg(target_os = "linux")]
mod open_errors;
mod panics;
#[cfg(target_os = "linux")]
mod processes;
mod raw_json;
mod runtimes;
mod scope_state;
#[cfg(target_os = "linux")]
mod secrets;
mod sharing;
#[cfg(target_os = "linux")]
mod soak;
mod sources;
mod suspect;
