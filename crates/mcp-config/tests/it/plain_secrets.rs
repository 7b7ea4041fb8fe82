//! Secrets that a file holds in plain text.

use serde_json::{Value, json};

use crate::loader;

/// The fields of the entry that hold a secret in plain text.
fn plain(entry: Value) -> Vec<String> {
    let file = json!({ "mcpServers": { "s": entry } }).to_string();
    let loader = loader().environment([("TOKEN", "from the environment")]);
    let config = loader.text("f", file).load().unwrap();
    let (_, server, _) = config.usable().next().expect("the server is usable");
    server.plain_secrets()
}

#[test]
fn secrets_in_plain_text_are_found_by_name_and_by_form() {
    let stdio = json!({
        "command": "x",
        "args": ["--api-key", "abcdef", "--verbose", "ghp_0123456789abcdef"],
        "env": { "GITHUB_TOKEN": "abcdef", "MODE": "fast" },
    });
    assert_eq!(plain(stdio), ["args[1]", "args[3]", "env.GITHUB_TOKEN"]);
    let http = json!({
        "url": "https://h/mcp?api_key=abcdef",
        "headers": { "Authorization": "Bearer abcdef", "Accept-Language": "en" },
    });
    assert_eq!(plain(http), ["url", "headers.Authorization"]);
}

#[test]
fn what_comes_from_a_variable_or_another_file_is_not_in_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets.env");
    std::fs::write(&secrets, "API_KEY=abcdef\n").unwrap();
    let stdio = json!({
        "command": "x",
        "args": ["--api-key", "${TOKEN}"],
        "env": { "GITHUB_TOKEN": "${TOKEN}" },
        "envFile": secrets,
    });
    assert!(plain(stdio).is_empty());
    let http = json!({
        "url": "https://h/mcp?page=2",
        "headers": { "Authorization": "Bearer ${TOKEN}", "X-Api-Key": { "env": "TOKEN" } },
    });
    assert!(plain(http).is_empty());
}
