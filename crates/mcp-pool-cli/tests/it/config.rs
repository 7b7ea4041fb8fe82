//! `config check`, `config show` and `schema`.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{documents::document, home::Home};

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let home = Home::new();
    home.servers(json!({
        "a": {"command": "x", "pool": {"max_conections": 3}},
        "b": {"comand": "x"},
        "c": {"command": "${NOT_SET}"},
        "good": {"command": "x"},
    }));
    let report = document(&home, &["config", "check"], 1);
    let problems = report["problems"].as_array().expect("a list");
    let paths: Vec<_> = problems
        .iter()
        .map(|problem| problem["path"].as_str().expect("a text"))
        .collect();
    assert_eq!(
        paths,
        [
            "mcpServers.a.pool.max_conections",
            "mcpServers.b",
            "mcpServers.c.command"
        ]
    );
    let output = home.command(&["config", "check"]).assert().code(1);
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(text.contains("did you mean max_connections?"), "{text}");
    let errors = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        errors.contains("the configuration has 3 mistakes"),
        "{errors}"
    );
}

#[test]
fn a_sound_configuration_is_said_to_be_sound() {
    let home = Home::new();
    let none = document(&home, &["config", "check"], 0);
    assert_eq!((&none["ok"], &none["servers"]), (&json!(true), &json!(0)));
    home.servers(json!({"a": {"command": "x"}}));
    let output = home.command(&["config", "check"]).assert().code(0);
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert_eq!(text, "1 server, nothing wrong.\n");
}

#[test]
fn a_file_that_does_not_parse_is_a_mistake() {
    let home = Home::new();
    home.write(".config/mcp-pool/mcp.json", "{");
    let report = document(&home, &["config", "check"], 1);
    assert_eq!(report["ok"], false);
    home.command(&["config", "show"]).assert().code(1);
}

#[test]
fn every_setting_says_where_it_comes_from() {
    let home = Home::new();
    home.servers(json!({"a": {"command": "x", "pool": {"max_connections": 7}}}));
    home.write(
        ".config/mcp-pool/mcp-pool.toml",
        "[defaults]\ncall_timeout = \"45s\"\n",
    );
    let mut command = home.command(&["config", "show", "--origin"]);
    let output = command.env("MCP_POOL_RETRY_ATTEMPTS", "5").assert().code(0);
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    let said = |setting: &str, origin: &str| {
        let mut lines = text.lines().skip_while(|line| !line.contains(setting));
        lines.next();
        assert!(
            lines.next().is_some_and(|line| line.ends_with(origin)),
            "{setting}: {text}"
        );
    };
    said(
        "max_connections = 7",
        "mcp.json: mcpServers.a.pool.max_connections",
    );
    said("call_timeout = 45", "mcp-pool.toml: defaults.call_timeout");
    said("retry_attempts = 5", "MCP_POOL_RETRY_ATTEMPTS");
    assert!(text.contains("  min_connections = 2\n"), "{text}");

    let shown = document(&home, &["config", "show", "--origin"], 0);
    let settings = shown["servers"][0]["settings"].as_array().expect("a list");
    assert!(settings.len() > 30);
    let short = document(&home, &["config", "show"], 0);
    let settings: Vec<_> = short["servers"][0]["settings"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert_eq!(settings.len(), 2, "{settings:?}");
}

#[test]
fn no_secret_is_shown() {
    let home = Home::new();
    home.servers(json!({
        "a": {"command": "x", "args": ["--token=hunter2"], "env": {"API_KEY": "hunter2"}},
        "b": {"url": "https://example.com/mcp?api_key=hunter2", "headers": {"Authorization": "Bearer hunter2"}},
    }));
    for arguments in [
        &["config", "show", "--origin"][..],
        &["--json", "config", "show"],
    ] {
        let output = home.command(arguments).assert().code(0);
        let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
        assert!(text.contains("***") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_schema_is_the_one_in_the_documentation() {
    let home = Home::new();
    let printed = document(&home, &["schema"], 0);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/mcp-pool.schema.json");
    let kept = fs::read(kept).expect("the schema is there");
    let kept: Value = serde_json::from_slice(&kept).expect("the schema is JSON");
    assert_eq!(printed, kept);
}
