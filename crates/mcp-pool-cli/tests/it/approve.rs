//! `mcp-pool approve`: what is approved is what was shown.

use serde_json::{Value, json};

use crate::{documents::document, home::Home};

/// SHA-256 of {"description":"Reads and sends.","name":"read"}: the gateway checks it.
const HASH: &str = "a3dfcb89ec5a2762025aa5203e53636652483d817770f6892141b5871b03d29b";

/// A home whose pins file has one changed tool.
fn home() -> Home {
    let home = Home::new();
    let definition = |text: &str| json!({ "name": "read", "description": text });
    let pin = json!({
        "sha256": "aa", "definition": definition("Reads."),
        "changed": { "sha256": HASH, "definition": definition("Reads and sends.") },
    });
    let pins = json!({ "version": 1, "servers": { "files": { "read": pin } } });
    home.write(".local/state/mcp-pool/pins.json", pins.to_string());
    home
}

fn hash(home: &Home) -> String {
    let shown = document(home, &["approve"], 0);
    shown["waiting"][0]["new_sha256"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_change_is_shown_and_approved() {
    let home = home();
    let output = home.command(&["approve"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("files.read  "), "{text}");
    assert!(
        text.contains("description: \"Reads.\" -> \"Reads and sends.\""),
        "{text}"
    );
    assert_eq!(document(&home, &["approve"], 0)["approved"], json!([]));

    let approved: Value = document(&home, &["approve", "files.read"], 0);
    assert_eq!(approved["approved"][0]["tool"], "read");
    assert_eq!(document(&home, &["approve"], 0)["waiting"], json!([]));
    home.command(&["approve", "files.read"]).assert().code(1);
    home.command(&["approve", "--all"]).assert().code(0);
}

#[test]
fn another_change_than_the_one_that_was_seen_is_not_approved() {
    let home = home();
    let seen = hash(&home);
    let other = "0".repeat(64);
    home.command(&["approve", "files.read", "--sha256", &other])
        .assert()
        .code(6);
    assert_eq!(hash(&home), seen);
    home.command(&["approve", "files.read", "--sha256", &seen])
        .assert()
        .code(0);
}
