//! Real sockets against a server with small limits.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod common;
mod end;
mod limits;
mod unix;
