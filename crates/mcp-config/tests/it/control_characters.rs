//! Messages never pass terminal control sequences of a file on.

use crate::loader;
use mcp_config::{Config, PoolSettings, ServerConfig};
use serde_json::json;

/// Clears the screen, begins a line of its own, and turns the direction of writing.
const EVIL: &str = "a\u{1b}[2J\nenvironment: all is well\u{202e}\u{9b}\r";

fn is_plain(text: &str) -> bool {
    let turns = |c: char| matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !text.contains(|c: char| c.is_control() || turns(c))
}

fn assert_plain(config: &Config) {
    let problems = config.problems().chain(&config.notes);
    let mut reported: Vec<_> = problems.map(ToString::to_string).collect();
    for entry in config.servers.values() {
        let origins = entry.settings_with_origin();
        reported.extend(origins.iter().map(|found| found.origin.to_string()));
        reported.extend(entry.disabled().map(ToString::to_string));
    }
    assert!(!reported.is_empty());
    for line in reported {
        assert!(is_plain(&line), "{line:?}");
    }
}

#[test]
fn names_keys_and_values_of_a_file_are_escaped_wherever_they_are_told() {
    let entries = [
        json!({EVIL: {"command": "x"}}),
        json!({EVIL: {"command": "x", "pool": {"max_waiters": 3}}}),
        json!({EVIL: 7, "good": {"command": "x"}}),
        json!({"a": {"command": "x", EVIL: 1}}),
        json!({"a": {"command": "x", "env": {EVIL: []}}}),
        json!({"a": {"command": "x", "env": {format!("{EVIL}="): "x"}}}),
        json!({"a": {"command": "x", "pool": {EVIL: 1}}}),
        json!({"a": {"command": "x", "pool": {"sharing": EVIL}}}),
        json!({"a": {"command": "x", "pool": {"circuit_breaker": {EVIL: EVIL}}}}),
        json!({"a": {"type": EVIL}}),
        json!({"a": {"url": "https://h/", "headers": {EVIL: "x"}}}),
        json!({"a": {"url": "https://h/", "headers": {"A": {EVIL: "x"}}}}),
        json!({"a": {"command": format!("${{input:{EVIL}}}")}}),
        json!({"a": {"command": "x", "envFile": EVIL}}),
    ];
    for servers in entries {
        let text = json!({"mcpServers": servers}).to_string();
        let config = loader().text(EVIL, text).load().unwrap();
        assert_plain(&config);
    }
}

#[test]
fn files_variables_and_code_are_escaped_in_an_error_of_the_whole() {
    let variables = || loader().environment([(format!("MCP_POOL_MAX_WAITER\u{1b}{EVIL}"), "1")]);
    let value = loader().environment([("MCP_POOL_SHARING", EVIL)]);
    let json = loader().text(EVIL, format!("{{\"{EVIL}"));
    let bare = loader().text("f", json!({EVIL: 1}).to_string());
    let yaml = loader().text("f.yaml", format!("a: *{EVIL}"));
    let toml = loader().text("f.toml", format!("a = {EVIL}"));
    let missing = loader().file(EVIL);
    for loader in [variables(), value, json, bare, yaml, toml, missing] {
        let error = match loader.load() {
            Err(error) => error,
            Ok(config) => {
                assert_plain(&config);
                continue;
            }
        };
        for problem in error.problems() {
            assert!(is_plain(&problem.to_string()), "{problem:?}");
            assert!(is_plain(&problem.path) && is_plain(&problem.source));
        }
        assert_eq!(error.to_string().lines().count(), error.problems().len());
    }
}

#[test]
fn a_server_whose_name_holds_one_is_refused_in_files_and_in_code() {
    let wrong = "\"a\\u{1b}b\": a server's name cannot hold a control character";
    let text = json!({"a\u{1b}b": {"command": "x"}, "c": {"command": "x"}});
    let config = loader().text("f", text.to_string()).load().unwrap();
    let reported = config.servers["a\u{1b}b"].disabled().unwrap().to_string();
    assert_eq!(reported, format!("f: {wrong}"));
    assert!(config.servers["c"].is_usable());

    let server = ServerConfig::stdio("x").pool(PoolSettings::new());
    let config = loader().server("a\u{1b}b", server).load().unwrap();
    assert_eq!(
        config.check().unwrap_err().to_string(),
        format!("code: {wrong}")
    );
}
