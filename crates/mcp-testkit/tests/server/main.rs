//! The test server against real clients, in real processes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod ends;
mod eras;
mod faults;
mod helpers;
mod hostile_tools;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod http_troubles;
mod in_process;
mod lists;
mod openings;
mod support;
mod tools;
#[cfg(feature = "http")]
mod web;
