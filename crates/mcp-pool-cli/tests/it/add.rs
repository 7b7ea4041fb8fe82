//! `add`, `remove`, `enable` and `disable` change one entry of the file of servers.

use std::{fs, os::unix::fs::PermissionsExt as _, thread};

use serde_json::{Value, json};

use crate::{documents::document, home::Home};

const FILE: &str = ".config/mcp-pool/mcp.json";

fn servers(home: &Home) -> Value {
    let text = fs::read_to_string(home.path().join(FILE)).expect("the file is there");
    serde_json::from_str::<Value>(&text).expect("the file is JSON")["mcpServers"].clone()
}

#[test]
fn a_server_is_added_as_claude_mcp_add_spells_it() {
    let home = Home::new();
    let add = |arguments: &[&str]| {
        home.command(&[&["add"], arguments].concat())
            .assert()
            .code(0);
    };
    add(&["time", "-e", "TZ=UTC", "--", "uvx", "mcp-server-time", "-v"]);
    add(&["files", "npx", "-y", "server-filesystem", "/"]);
    add(&[
        "web",
        "https://example.com/mcp",
        "-H",
        "Authorization: Bearer ${T}",
    ]);
    add(&["browser", "--sharing", "pinned", "--", "npx", "playwright"]);
    assert_eq!(
        servers(&home),
        json!({
            "time": {"command": "uvx", "args": ["mcp-server-time", "-v"], "env": {"TZ": "UTC"}},
            "files": {"command": "npx", "args": ["-y", "server-filesystem", "/"]},
            "web": {"type": "http", "url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${T}"}},
            "browser": {"command": "npx", "args": ["playwright"], "pool": {"sharing": "pinned"}},
        })
    );
    let mode = fs::metadata(home.path().join(FILE))
        .expect("the file is there")
        .permissions()
        .mode();
    assert_eq!(
        mode & 0o777,
        0o600,
        "others cannot read what may be a secret"
    );
}

#[test]
fn a_wrong_server_is_refused_and_nothing_is_written() {
    let home = Home::new();
    for (arguments, says) in [
        (&["a b", "x"][..], "is no name for a server"),
        (&["", "x"], "is no name for a server"),
        (&["../x", "x"], "is no name for a server"),
        (&["a", "-e", "hunter2", "--", "x"], "has no = between"),
        (&["a", "-H", "A: b", "--", "x"], "only a URL has headers"),
        (
            &["a", "-e", "A=b", "--", "https://example.com"],
            "only a command has variables",
        ),
        (&["a", "-t", "sse", "https://example.com/sse"], "retired"),
        (&["a", "-t", "http", "example.com"], "is no URL"),
    ] {
        let output = home
            .command(&[&["add"], arguments].concat())
            .assert()
            .code(1);
        let text = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(text.contains(says), "{arguments:?}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(!home.path().join(FILE).exists());
}

#[test]
fn a_name_that_is_taken_is_refused_unless_forced() {
    let home = Home::new();
    home.command(&["add", "a", "x"]).assert().code(0);
    home.command(&["add", "a", "y"]).assert().code(1);
    assert_eq!(servers(&home)["a"]["command"], "x");
    home.command(&["add", "--force", "a", "y"]).assert().code(0);
    assert_eq!(servers(&home)["a"]["command"], "y");
}

#[test]
fn an_unknown_server_is_answered_with_the_nearest() {
    let home = Home::new();
    home.servers(json!({"github": {"command": "x"}, "time": {"command": "y"}}));
    for command in ["remove", "enable", "disable"] {
        let output = home.command(&[command, "gitub"]).assert().code(1);
        let text = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(text.contains("did you mean github?"), "{text}");
    }
}

#[test]
fn the_comments_and_the_form_of_the_file_are_kept() {
    let home = Home::new();
    let text = "\u{feff}{\r\n\t// mine\r\n\t\"mcpServers\": {\r\n\t\t\"a\": { \"command\": \"x\" }, // first\r\n\t},\r\n}\r\n";
    let path = home.write(FILE, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("the mode can be set");
    home.command(&["add", "b", "y"]).assert().code(0);
    home.command(&["disable", "b"]).assert().code(0);
    let edited = fs::read_to_string(&path).expect("the file is there");
    assert!(edited.contains("\u{feff}{\r\n\t// mine\r\n"));
    assert!(edited.contains("\"a\": { \"command\": \"x\" }, // first\r\n"));
    assert!(
        edited.contains("\t\t\"b\": {\r\n\t\t\t\"command\": \"y\","),
        "{edited:?}"
    );
    home.command(&["remove", "b"]).assert().code(0);
    assert_eq!(fs::read_to_string(&path).expect("the file is there"), text);
    let mode = fs::metadata(&path)
        .expect("the file is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn toml_and_yaml_files_are_edited_too() {
    let home = Home::new();
    let toml = home.write("s.toml", "# mine\n[mcpServers.a]\ncommand = \"x\" # here\n");
    let yaml = home.write(
        "s.yaml",
        "# mine\nmcpServers:\n  a:\n    command: x # here\n",
    );
    for path in [&toml, &yaml] {
        let before = fs::read_to_string(path).expect("the file is there");
        let path = path.to_str().expect("a path is text");
        home.command(&["--config", path, "add", "b", "--", "y", "-z"])
            .assert()
            .code(0);
        let edited = fs::read_to_string(path).expect("the file is there");
        assert!(edited.starts_with(&before), "{edited}");
        home.command(&["--config", path, "config", "check"])
            .assert()
            .code(0);
        home.command(&["--config", path, "remove", "b"])
            .assert()
            .code(0);
        assert_eq!(fs::read_to_string(path).expect("the file is there"), before);
    }
}

#[test]
fn a_server_is_switched_off_and_on() {
    let home = Home::new();
    home.servers(json!({"a": {"command": "x"}, "b": {"command": "y", "enabled": true}}));
    for name in ["a", "b"] {
        let off = document(&home, &["disable", name], 0);
        assert_eq!(
            (&off["enabled"], &off["changed"]),
            (&json!(false), &json!(true))
        );
        let again = document(&home, &["disable", name], 0);
        assert_eq!(again["changed"], false);
        let on = document(&home, &["enable", name], 0);
        assert_eq!(
            (&on["enabled"], &on["changed"]),
            (&json!(true), &json!(true))
        );
    }
    assert_eq!(
        servers(&home),
        json!({"a": {"command": "x"}, "b": {"command": "y", "enabled": true}})
    );
}

#[test]
fn a_file_that_does_not_parse_is_left_alone() {
    let home = Home::new();
    let path = home.write(FILE, "{\n  \"mcpServers\": {\n");
    let output = home.command(&["add", "a", "x"]).assert().code(1);
    let text = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(text.contains("mcp.json: line "), "{text}");
    assert_eq!(
        fs::read_to_string(path).expect("the file is there"),
        "{\n  \"mcpServers\": {\n"
    );
}

#[test]
fn a_read_only_file_is_left_alone() {
    let home = Home::new();
    let path = home.servers(json!({}));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("the mode can be set");
    let output = home.command(&["add", "a", "x"]).assert().code(1);
    let text = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        text.contains("is read-only") && text.contains("chmod u+w"),
        "{text}"
    );
    assert_eq!(servers(&home), json!({}));
}

#[test]
fn a_symbolic_link_stays_one() {
    let home = Home::new();
    let real = home.write("dotfiles/mcp.json", "{}\n");
    let link = home.path().join(FILE);
    fs::create_dir_all(link.parent().expect("a file is in a folder"))
        .expect("a folder can be made");
    std::os::unix::fs::symlink(&real, &link).expect("a link can be made");
    home.command(&["add", "a", "x"]).assert().code(0);
    assert!(
        fs::symlink_metadata(&link)
            .expect("the link is there")
            .is_symlink()
    );
    assert!(
        fs::read_to_string(&real)
            .expect("the file is there")
            .contains("\"a\"")
    );
}

#[test]
fn of_many_adds_at_once_none_is_lost() {
    let home = Home::new();
    thread::scope(|scope| {
        for number in 0..12 {
            let home = &home;
            scope.spawn(move || {
                home.command(&["add", &format!("s{number}"), "x"])
                    .assert()
                    .code(0);
            });
        }
    });
    let servers = servers(&home);
    assert_eq!(servers.as_object().expect("a table").len(), 12);
    let folder = home.path().join(".config/mcp-pool");
    let files = fs::read_dir(folder).expect("the folder is there").count();
    assert_eq!(
        files, 2,
        "the file and what it was before, and nothing half-written"
    );
}

#[test]
fn their_documents_are_as_the_schemas_say() {
    let home = Home::new();
    let added = document(&home, &["add", "a", "x"], 0);
    assert_eq!(added["added"], "a");
    let removed = document(&home, &["remove", "a"], 0);
    assert_eq!(removed["removed"], "a");
}

#[test]
fn a_link_in_the_place_of_a_backup_is_replaced_and_not_followed() {
    let home = Home::new();
    let victim = home.write(".profile", "mine");
    let text = r#"{ "mcpServers": { "x": { "command": "$(touch owned)" } } }"#;
    home.write("cloned/.mcp.json", text);
    let backup = home.path().join("cloned/.mcp.json.mcp-pool-backup");
    std::os::unix::fs::symlink("../.profile", &backup).expect("a link can be made");
    let disable = ["--config", "cloned/.mcp.json", "disable", "x"];
    home.command(&disable).assert().success();
    let read = |path| fs::read_to_string(path).expect("the file is there");
    assert_eq!(read(&victim), "mine");
    assert_eq!(read(&backup), text);
    let is_link = backup.symlink_metadata().expect("it is there").is_symlink();
    assert!(!is_link);
}
