//! No input makes the loader panic, hang, or use memory out of proportion.
//!
//! `cargo +nightly fuzz run load`, from `crates/mcp-config`. The first byte chooses the format. On a stable compiler
//! `tests/hostile_input.rs` makes the same attempts with damaged files.

#![no_main]

#[path = "../../tests/hostile_input/attempt.rs"]
mod attempt;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| attempt::attempt(input.0, input.1));
