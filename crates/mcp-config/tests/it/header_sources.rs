//! Headers whose values come from sources: their forms in a file, and the errors for wrong ones.

use crate::loader;
use std::path::Path;
use std::time::Duration;

use mcp_config::{Config, HttpServer, Transport, ValueFrom, ValuePlace};
use serde_json::json;

fn load(headers: serde_json::Value) -> Config {
    let file = json!({"mcpServers": {"a": {"url": "https://h/mcp", "headers": headers}}});
    loader()
        .workspace_folder("/work")
        .environment([("TOKEN_NAME", "GITHUB_TOKEN"), ("KEY", "s3cret-key")])
        .text(".mcp.json", file.to_string())
        .load()
        .unwrap()
}

fn http(config: &Config) -> &HttpServer {
    match config.servers["a"].server().unwrap().transport() {
        Transport::Http(http) => http,
        other => panic!("not over HTTP: {other:?}"),
    }
}

fn problem(headers: serde_json::Value) -> String {
    let config = load(headers.clone());
    let disabled = config.servers["a"].disabled();
    disabled
        .unwrap_or_else(|| panic!("taken: {headers}"))
        .to_string()
}

#[test]
fn a_value_comes_from_a_variable_a_file_or_a_command() {
    let config = load(json!({
        "Fixed": "text",
        "From-Env": {"env": "${TOKEN_NAME}", "prefix": "Bearer "},
        "From-File": {"file": "secrets/token"},
        "From-Root": {"file": "/run/secrets/token"},
        "From-Command": {
            "command": ["op", "read", "op://${KEY}"],
            "timeout": "5s",
            "env": {"OP_ACCOUNT": "${KEY}"},
            "prefix": "Bearer ",
        },
        "Patient": {"command": ["slow"]},
    }));
    let server = http(&config);
    assert_eq!(server.headers.len(), 1);
    let from = &server.headers_from;
    assert_eq!(
        from["From-Env"],
        ValueFrom::env("GITHUB_TOKEN").prefix("Bearer ")
    );
    assert_eq!(from["From-File"], ValueFrom::file("/work/secrets/token"));
    assert_eq!(
        from["From-Root"].place(),
        &ValuePlace::File(Path::new("/run/secrets/token").into())
    );
    let command = ValueFrom::command("op", ["read", "op://s3cret-key"])
        .timeout(Duration::from_secs(5))
        .variable("OP_ACCOUNT", "s3cret-key")
        .prefix("Bearer ");
    assert_eq!(from["From-Command"], command);
    let ValuePlace::Command(patient) = from["Patient"].place() else {
        panic!("not a command");
    };
    assert_eq!(patient.timeout, Duration::from_secs(10));
}

#[test]
fn nothing_secret_of_it_is_shown() {
    let config = load(json!({
        "A": {"command": ["op", "s3cret-key"], "env": {"B": "${KEY}"}},
        "C": {"env": "NAME"},
    }));
    let server = config.servers["a"].server().unwrap();
    let shown = serde_json::to_value(server).unwrap();
    assert_eq!(
        shown["transport"]["headers"],
        json!({"A": {"command": "op"}, "C": {"env": "NAME"}})
    );
    let place = http(&config).headers_from["A"].place();
    let shown = format!("{shown} {server:?} {config:?} {place:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_would_be_right() {
    let at = ".mcp.json: mcpServers.a.headers.X";
    for (value, reported) in [
        (
            json!({}),
            ": neither env, file nor command is given, a value needs one of them",
        ),
        (
            json!({"env": "A", "file": "b"}),
            ": more than one of env, file and command is given, a value comes from one place",
        ),
        (
            json!({"env": "A", "prefx": "Bearer "}),
            ".prefx: unknown field, did you mean prefix?",
        ),
        (
            json!({"file": "a", "timeout": 3}),
            ".timeout: only a command takes time, remove it",
        ),
        (
            json!({"command": ["a"], "timeout": "soon"}),
            ".timeout: not a time that can pass, expected seconds as a number above zero, or a text such as \"5s\"",
        ),
        (
            json!({"command": ["a"], "timeout": 0}),
            ".timeout: not a time that can pass, expected seconds as a number above zero, or a text such as \"5s\"",
        ),
        (
            json!({"command": "op read x"}),
            ".command: a text is not allowed here, expected a list: one text for each argument",
        ),
        (json!({"command": []}), ".command: the command is empty"),
        (json!({"file": ""}), ".file: the path is empty"),
        (
            json!({"env": "A=B"}),
            ".env: not a name a variable can have",
        ),
        (
            json!({"env": "A", "prefix": "a\nb"}),
            ".prefix: a header's value cannot hold a line break or another control character",
        ),
        (
            json!({"env": "${NOT_SET}"}),
            ".env: variable NOT_SET is not set, set it, or write ${NOT_SET:-default}",
        ),
        (
            json!(["a"]),
            ": a list is not allowed here, expected a text, or a table with env, file or command",
        ),
    ] {
        let reported_of = problem(json!({"X": value}));
        assert_eq!(reported_of, format!("{at}{reported}"), "{value}");
    }
    assert!(problem(json!({"A B": {"env": "A"}})).ends_with("not a name a header can have"));
}

#[test]
fn a_token_of_the_field_auth_does_not_displace_a_header_that_comes_from_elsewhere() {
    let file = json!({"a": {
        "url": "https://h/mcp", "auth": "s3cret", "headers": {"authorization": {"env": "TOKEN"}},
    }});
    let config = loader().text("f.json", file.to_string()).load().unwrap();
    assert!(http(&config).headers.is_empty());
    assert_eq!(
        http(&config).headers_from["authorization"],
        ValueFrom::env("TOKEN")
    );
}

#[test]
fn another_place_for_a_value_is_a_change_of_the_server() {
    let [old, new] = ["A", "B"].map(|name| load(json!({"X": {"env": name}})));
    assert_eq!(old.changes_to(&new).replaced, ["a"]);
    assert!(old.changes_to(&load(json!({"X": {"env": "A"}}))).is_empty());
}
