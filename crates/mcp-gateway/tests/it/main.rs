//! All tests of the crate.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod calls;
mod cells;
mod common;
mod lines;
mod session_ids;
mod streams;
