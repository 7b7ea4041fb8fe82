//! `mcp-pool token`.

use serde_json::json;

use crate::{documents::document, home::Home};

const FILE: &str = ".config/mcp-pool/mcp-pool.toml";

#[test]
fn a_token_is_shown_once_and_its_hash_is_kept() {
    let home = Home::new();
    let before = "# mine\n[defaults]\nmax_connections = 5\n";
    let file = home.write(FILE, before);
    let shown = document(&home, &["token", "new", "ann"], 0);
    assert!(shown["file"].is_null());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);

    let new = document(&home, &["token", "new", "ann", "--write"], 0);
    let token = new["token"].as_str().unwrap();
    assert_ne!(token, shown["token"].as_str().unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("# mine\n") && !text.contains(token),
        "{text}"
    );
    assert!(text.contains(new["sha256"].as_str().unwrap()), "{text}");
    let listed = document(&home, &["token", "list"], 0);
    assert_eq!(listed["tokens"], json!([{ "name": "ann", "kind": "hash" }]));
    home.command(&["token", "new", "ann"]).assert().code(1);

    document(&home, &["token", "revoke", "ann"], 0);
    let listed = document(&home, &["token", "list"], 0);
    assert_eq!(listed["tokens"], json!([]));
    home.command(&["token", "revoke", "ann"]).assert().code(1);
}

#[test]
fn the_first_token_makes_the_file_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let output = home
        .command(&["token", "new", "ann", "--write"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let token = String::from_utf8(output.stdout).unwrap();
    assert!(
        token.starts_with("mcp_") && token.lines().count() == 1,
        "{token}"
    );
    let mode = home
        .path()
        .join(FILE)
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    home.command(&["token", "new", "no name"]).assert().code(1);
}
