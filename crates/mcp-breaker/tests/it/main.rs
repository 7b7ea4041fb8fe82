//! All tests of the crate but those that need a process of their own.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod calls;
mod epochs;
mod forced_states;
mod half_open;
mod layer;
mod model;
mod observers;
mod reading;
mod settings;
mod threads;
mod tripping;
