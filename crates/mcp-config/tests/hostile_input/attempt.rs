//! What the fuzzer and the tests do with an input.

use mcp_config::Loader;

/// Loads the text in one of the three formats, as a file and as a variable, and shows what came of it.
pub(crate) fn attempt(format: u8, text: &str) {
    let name = ["f.json", "f.yaml", "f.toml"][usize::from(format) % 3];
    let variables = [
        ("A", "${A}"),
        ("HOME", "/home/me"),
        ("MCP_POOL_CALL_TIMEOUT", text),
        ("MCP_SERVER_A_MAX_CONNECTIONS", text),
    ];
    let none = Loader::new().environment([("", ""); 0]);
    for loader in [none.clone(), none.environment(variables)] {
        let reported = match loader.text(name, text).load() {
            Ok(config) => {
                let origins = config
                    .servers
                    .values()
                    .map(|server| server.settings_with_origin());
                format!(
                    "{config:?} {:?} {:?}",
                    config.notes,
                    origins.collect::<Vec<_>>()
                )
            }
            Err(error) => error.to_string(),
        };
        drop(reported);
    }
}
