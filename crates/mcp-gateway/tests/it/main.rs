//! All tests of the crate.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audit;
mod calls;
mod cells;
mod common;
mod fidelity;
mod forwarded;
#[cfg(feature = "jwt")]
mod jwt;
mod killed;
mod known;
mod limits;
mod lines;
mod listener;
mod names;
mod nginx;
mod origins;
mod pins;
mod programs;
mod questions;
mod raw_questions;
mod reload;
mod restart;
mod sdk;
mod search;
mod session_ids;
mod shared_sessions;
mod slow_calls;
mod stopping;
mod streams;
mod tokens;
mod updates;
