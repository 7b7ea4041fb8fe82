//! All tests of the crate but those that need a process of their own.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod alerts;
mod common;
mod connection_limits;
mod dashboard;
mod events;
mod openapi;
mod routes;
mod secrets;
mod shutdown;
