//! `import` takes over the servers of every client, and loses nothing.

use std::fs;

use serde_json::{Value, json};

use crate::{documents::document, home::Home};

/// The file of each client on Linux, with one server in the client's own form.
const FILES: [(&str, &str, &str); 8] = [
    (
        "claude-desktop",
        ".config/Claude/claude_desktop_config.json",
        r#"{"mcpServers": {"desktop": {"command": "d", "args": ["1"]}}, "scale": 1}"#,
    ),
    (
        "claude-code",
        ".claude.json",
        r#"{"numStartups": 3, "mcpServers": {"code": {"type": "http", "url": "https://code.example/mcp"}}}"#,
    ),
    (
        "cursor",
        ".cursor/mcp.json",
        r#"{"mcpServers": {"cursor": {"command": "c", "env": {"A": "${env:HOME}"}, "autoApprove": ["x"]}}}"#,
    ),
    (
        "vscode",
        ".config/Code/User/mcp.json",
        "{\n// mine\n\"inputs\": [],\n\"servers\": {\"vs\": {\"type\": \"stdio\", \"command\": \"v\"},},\n}",
    ),
    (
        "windsurf",
        ".codeium/windsurf/mcp_config.json",
        r#"{"mcpServers": {"surf": {"serverUrl": "https://surf.example/mcp", "disabledTools": ["rm"]}}}"#,
    ),
    (
        "codex",
        ".codex/config.toml",
        "model = \"o3\"\n[mcp_servers.codex]\ncommand = \"k\"\nenabled_tools = [\"a\"]\n",
    ),
    (
        "gemini-cli",
        ".gemini/settings.json",
        r#"{"mcpServers": {"gem": {"httpUrl": "https://gem.example/mcp", "timeout": 5000}}}"#,
    ),
    (
        "zed",
        ".config/zed/settings.json",
        "{\n  // zed\n  \"context_servers\": {\"zed\": {\"source\": \"custom\", \"command\": \"z\"}, \"ext\": {\"settings\": {}}},\n}",
    ),
];

fn all(home: &Home) {
    for (_, path, text) in FILES {
        home.write(path, text);
    }
}

fn servers(home: &Home) -> Value {
    let path = home.path().join(".config/mcp-pool/mcp.json");
    let text = fs::read_to_string(path).expect("the file is there");
    serde_json::from_str::<Value>(&text).expect("the file is JSON")["mcpServers"].clone()
}

#[test]
fn the_servers_of_all_eight_clients_are_taken_over() {
    let home = Home::new();
    all(&home);
    let report = document(&home, &["import"], 0);
    assert_eq!(
        servers(&home),
        json!({
            "desktop": {"command": "d", "args": ["1"]},
            "code": {"type": "http", "url": "https://code.example/mcp"},
            "cursor": {"command": "c", "env": {"A": "${env:HOME}"}, "autoApprove": ["x"]},
            "vs": {"type": "stdio", "command": "v"},
            "surf": {"serverUrl": "https://surf.example/mcp", "aggregator": {"deny": ["rm"]}},
            "codex": {"command": "k", "aggregator": {"allow": ["a"]}},
            "gem": {"httpUrl": "https://gem.example/mcp", "timeout": 5000},
            "zed": {"command": "z", "source": "custom"},
        })
    );
    let left_out = report["servers"].as_array().expect("a list").iter();
    let left_out: Vec<_> = left_out
        .filter(|server| server["outcome"] == "left-out")
        .collect();
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert_eq!(left_out[0]["name"], "ext");
    for (client, path, text) in FILES {
        let now = fs::read_to_string(home.path().join(path)).expect("the file is there");
        assert_eq!(now, text, "{client}: its file is unchanged");
    }
    home.command(&["config", "check"]).assert().code(0);
}

#[test]
fn a_second_import_adds_nothing() {
    let home = Home::new();
    all(&home);
    home.command(&["import"]).assert().code(0);
    let before = servers(&home);
    let report = document(&home, &["import"], 0);
    assert_eq!(servers(&home), before);
    for server in report["servers"].as_array().expect("a list") {
        assert!(["present", "left-out"].contains(&server["outcome"].as_str().expect("a text")));
    }
}

#[test]
fn only_the_clients_that_were_named_are_read() {
    let home = Home::new();
    all(&home);
    home.command(&["import", "--from", "cursor", "--from", "codex"])
        .assert()
        .code(0);
    let names: Vec<_> = servers(&home)
        .as_object()
        .expect("a table")
        .keys()
        .cloned()
        .collect();
    assert_eq!(names, ["codex", "cursor"]);
}

#[test]
fn a_dry_run_writes_nothing() {
    let home = Home::new();
    all(&home);
    let report = document(&home, &["import", "--dry-run"], 0);
    assert_eq!(report["dry_run"], true);
    assert_eq!(report["servers"].as_array().expect("a list").len(), 9);
    assert!(!home.path().join(".config/mcp-pool/mcp.json").exists());
}

#[test]
fn one_server_in_two_clients_is_one_and_two_of_one_name_are_two() {
    let home = Home::new();
    home.servers(json!({"mine": {"command": "same", "args": []}}));
    home.write(
        ".config/Claude/claude_desktop_config.json",
        r#"{"mcpServers": {"x": {"command": "first"}, "twin": {"command": "same"}}}"#,
    );
    home.write(
        ".cursor/mcp.json",
        r#"{"mcpServers": {"x": {"command": "second", "future": {"a": 1}}, "y": {"command": "first"}}}"#,
    );
    let report = document(&home, &["import"], 0);
    assert_eq!(
        servers(&home),
        json!({
            "mine": {"command": "same", "args": []},
            "x": {"command": "first"},
            "x-cursor": {"command": "second", "future": {"a": 1}},
        })
    );
    let outcomes = report["servers"].as_array().expect("a list").iter();
    let outcomes: Vec<_> = outcomes
        .map(|server| {
            let text = |field: &str| server[field].as_str().expect("a text");
            (text("name"), text("outcome"), text("as"))
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("twin", "present", "mine"),
            ("x", "added", "x"),
            ("x", "renamed", "x-cursor"),
            ("y", "present", "x"),
        ]
    );
}

#[test]
fn a_server_that_is_on_anywhere_is_on() {
    let home = Home::new();
    home.write(
        ".config/Claude/claude_desktop_config.json",
        r#"{"mcpServers": {"x": {"command": "a", "disabled": true}}}"#,
    );
    home.write(
        ".cursor/mcp.json",
        r#"{"mcpServers": {"x": {"command": "a"}}}"#,
    );
    home.command(&["import"]).assert().code(0);
    assert_eq!(servers(&home), json!({"x": {"command": "a"}}));
}

#[test]
fn a_secret_stays_as_it_is_with_a_note_that_does_not_show_it() {
    let home = Home::new();
    home.write(
        ".cursor/mcp.json",
        r#"{"mcpServers": {"x": {"command": "a", "env": {"API_KEY": "hunter2"}}}}"#,
    );
    let report = document(&home, &["import", "--dry-run"], 0);
    assert!(
        report
            .to_string()
            .contains("env.API_KEY is a secret in plain text")
    );
    let output = home.command(&["import"]).assert().code(0);
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(!text.contains("hunter2") && !report.to_string().contains("hunter2"));
    assert_eq!(servers(&home)["x"]["env"]["API_KEY"], "hunter2");
}

#[test]
fn the_files_of_a_project_are_read_only_when_asked_for() {
    let home = Home::new();
    let project = home.path().canonicalize().expect("the folder is there");
    home.write(
        ".mcp.json",
        r#"{"mcpServers": {"p": {"command": "${workspaceFolder}/x"}}}"#,
    );
    home.write(
        ".claude.json",
        json!({"projects": {project.to_str().expect("a text"): {"mcpServers": {"local": {"command": "l"}}}}})
            .to_string(),
    );
    home.command(&["import"]).assert().code(0);
    assert!(!home.path().join(".config/mcp-pool/mcp.json").exists());
    home.command(&["import", "--project"]).assert().code(0);
    let project = project.to_str().expect("a text");
    assert_eq!(
        servers(&home),
        json!({
            "p": {"command": format!("{project}/x"), "cwd": project},
            "local": {"command": "l", "cwd": project},
        })
    );
}

#[test]
fn a_file_that_does_not_parse_is_named_and_the_others_are_read() {
    let home = Home::new();
    home.write(".cursor/mcp.json", "{\"mcpServers\": {");
    home.write(".codex/config.toml", "[mcp_servers.a]\ncommand = \"x\"\n");
    let report = document(&home, &["import"], 1);
    assert!(
        report["problems"][0]
            .as_str()
            .expect("a text")
            .contains("mcp.json: line 1")
    );
    assert_eq!(servers(&home), json!({"a": {"command": "x"}}));
}

#[test]
fn what_import_says_fits_into_eighty_columns() {
    let home = Home::new();
    all(&home);
    let output = home.command(&["import"]).assert().code(0);
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert!(
        text.contains("Cursor (~/.cursor/mcp.json)\n  + cursor\n"),
        "{text}"
    );
    assert!(
        text.ends_with("Added 8 servers to ~/.config/mcp-pool/mcp.json.\n"),
        "{text}"
    );
}
