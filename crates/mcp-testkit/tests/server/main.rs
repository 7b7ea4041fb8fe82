//! The test server against real clients, in real processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod eras;
mod support;
