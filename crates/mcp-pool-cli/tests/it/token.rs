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

    document(&home, &["token", "revoke", "ann", "--force"], 0);
    let listed = document(&home, &["token", "list"], 0);
    assert_eq!(listed["tokens"], json!([]));
    home.command(&["token", "revoke", "ann"]).assert().code(1);
}

#[test]
fn a_token_is_revoked_in_every_file_that_holds_it() {
    let home = Home::new();
    let table = json!({ "ann": { "sha256": "0".repeat(64) }, "bob": { "sha256": "1".repeat(64) } });
    let servers = json!({ "mcpServers": {}, "gateway": { "tokens": table } });
    let servers = home.write(".config/mcp-pool/mcp.json", servers.to_string());
    let settings = home.write(
        FILE,
        format!(
            "[gateway.tokens]\nann = {{ sha256 = \"{}\" }}\n",
            "0".repeat(64)
        ),
    );
    let revoked = document(&home, &["token", "revoke", "ann"], 0);
    assert_eq!(revoked["files"].as_array().unwrap().len(), 2, "{revoked}");
    let listed = document(&home, &["token", "list"], 0);
    assert_eq!(listed["tokens"], json!([{ "name": "bob", "kind": "hash" }]));
    for file in [servers, settings] {
        assert!(!std::fs::read_to_string(file).unwrap().contains("ann"));
    }
}

#[test]
fn the_last_token_is_revoked_only_where_that_is_asked_for_and_leaves_a_usable_configuration() {
    let home = Home::new();
    let hash = "0".repeat(64);
    let local = format!("[gateway.tokens]\nann = {{ sha256 = \"{hash}\" }}\n");
    let exposed = format!("[gateway]\npublic_url = \"https://gw.example.com\"\n{local}");
    let refused = |text: &str, arguments: &[&str], why: &str| {
        let file = home.write(FILE, text);
        let (code, _, err) = home.run(arguments);
        assert!(code == 1 && err.contains(why), "{err}");
        assert_eq!(std::fs::read_to_string(file).unwrap(), text);
    };
    refused(&local, &["token", "revoke", "ann"], "the last token");
    let forced = &["token", "revoke", "ann", "--force"];
    refused(&exposed, forced, "without authentication");
    home.write(FILE, &local);
    let (_, err) = home.succeed(forced);
    assert!(err.contains("No client needs a token"), "{err}");
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
