//! No input makes the loader panic, hang, or use memory out of proportion.
//!
//! `cargo +nightly fuzz run load`, from `crates/mcp-config`. The first byte chooses the format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_config::Loader;

fuzz_target!(|input: (u8, &str)| {
    let (format, text) = input;
    let name = ["f.json", "f.yaml", "f.toml"][usize::from(format) % 3];
    let variables = [("A", "${A}"), ("HOME", "/home/me"), ("MCP_POOL_CALL_TIMEOUT", text)];
    for loader in [Loader::new(), Loader::new().environment(variables)] {
        match loader.text(name, text).load() {
            Ok(config) => drop(format!("{config:?}")),
            Err(error) => drop(error.to_string()),
        }
    }
});
