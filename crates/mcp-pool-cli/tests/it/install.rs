//! `install` points a client at the daemon, and `uninstall` restores its file.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use mcp_config::Document;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{documents::document, home::Home};

const DESKTOP: &str = ".config/Claude/claude_desktop_config.json";
const OWN: &str = ".config/mcp-pool/mcp.json";

/// Each client with its file on Linux, the key above its servers, and a file of a user.
const CLIENTS: [(&str, &str, &str, &str); 8] = [
    (
        "claude-desktop",
        DESKTOP,
        "mcpServers",
        "{\n    \"mcpServers\": {\n        \"a\": {\"command\": \"x\"}\n    },\n    \"scale\": 1.0\n}",
    ),
    (
        "claude-code",
        ".claude.json",
        "mcpServers",
        "{\"numStartups\":3,\"mcpServers\":{\"a\":{\"type\":\"stdio\",\"command\":\"x\",\"args\":[],\"env\":{}}},\"projects\":{}}\n",
    ),
    (
        "cursor",
        ".cursor/mcp.json",
        "mcpServers",
        "\u{feff}{\r\n\t\"mcpServers\": {\r\n\t\t\"a\": {\r\n\t\t\t\"command\": \"x\"\r\n\t\t}\r\n\t}\r\n}\r\n",
    ),
    (
        "vscode",
        ".config/Code/User/mcp.json",
        "servers",
        "{\n  // mine\n  \"inputs\": [],\n  \"servers\": {\n    \"a\": { \"type\": \"stdio\", \"command\": \"x\" }, // here\n  },\n}\n",
    ),
    (
        "windsurf",
        ".codeium/windsurf/mcp_config.json",
        "mcpServers",
        "{ \"mcpServers\": { \"a\": { \"command\": \"x\" } } }",
    ),
    (
        "codex",
        ".codex/config.toml",
        "mcp_servers",
        "# mine\nmodel = 'o3'   # best\n\n[mcp_servers.a]   # first\ncommand = \"x\"\n\n[tui]\nx = 1\r\n",
    ),
    (
        "gemini-cli",
        ".gemini/settings.json",
        "mcpServers",
        "{\n  \"theme\": \"x\",\n  \"mcpServers\": {\"a\": {\"command\": \"x\"}}\n}\n",
    ),
    (
        "zed",
        ".config/zed/settings.json",
        "context_servers",
        "// Zed settings\n{\n  \"context_servers\": {\n    \"a\": {\"command\": \"x\", \"args\": []},\n  },\n}\n",
    ),
];

fn read(home: &Home, path: &str) -> String {
    fs::read_to_string(home.path().join(path)).expect("the file is there")
}

fn entries(home: &Home, path: &str, table: &str) -> Value {
    let document = Document::open(&home.path().join(path)).expect("the file is sound");
    document.get(&[table]).cloned().unwrap_or(Value::Null)
}

#[test]
fn every_client_is_pointed_at_the_daemon_and_gets_every_byte_back() {
    let home = Home::new();
    for (client, path, table, text) in CLIENTS {
        home.write(path, text);
        let installed = document(&home, &["install", "--client", client], 0);
        let entries = entries(&home, path, table);
        let entries = entries.as_object().expect("a table of servers");
        assert_eq!(entries.keys().collect::<Vec<_>>(), ["mcp-pool"], "{client}");
        let entry = &entries["mcp-pool"];
        let command = entry["command"].as_str().expect("a text");
        assert!(Path::new(command).is_absolute(), "{client}: {command}");
        assert_eq!(entry["args"], json!(["connect", "--client", client]));
        assert_eq!(installed[0]["moved"][0]["as"], "a", "{client}");
        assert_eq!(entries_of_own(&home)["a"]["command"], "x");
        let backup = format!("{path}.mcp-pool-backup");
        assert_eq!(read(&home, &backup), text, "{client}");

        let restored = document(&home, &["uninstall", "--client", client], 0);
        assert_eq!(restored[0]["restored"], "exact", "{client}");
        assert_eq!(read(&home, path), text, "{client}");
        assert!(!home.path().join(backup).exists(), "{client}");
    }
}

fn entries_of_own(home: &Home) -> Value {
    entries(home, OWN, "mcpServers")
}

#[test]
fn without_a_client_all_are_uninstalled() {
    let home = Home::new();
    for (client, path, _, text) in CLIENTS {
        home.write(path, text);
        home.command(&["install", "--client", client])
            .assert()
            .code(0);
    }
    home.command(&["uninstall"]).assert().code(0);
    for (client, path, _, text) in CLIENTS {
        assert_eq!(read(&home, path), text, "{client}");
    }
    let nothing = document(&home, &["uninstall"], 0);
    assert_eq!(nothing, json!([]));
    home.command(&["uninstall", "--client", "zed"])
        .assert()
        .code(1);
}

#[test]
fn a_file_that_was_not_there_is_made_and_taken_away() {
    let home = Home::new();
    home.command(&["install", "--client", "claude-desktop"])
        .assert()
        .code(0);
    assert_eq!(
        entries(&home, DESKTOP, "mcpServers")["mcp-pool"]["args"],
        json!(["connect", "--client", "claude-desktop"])
    );
    home.command(&["uninstall"]).assert().code(0);
    assert!(!home.path().join(DESKTOP).exists());
}

#[test]
fn what_only_the_client_can_start_stays_in_its_file() {
    let home = Home::new();
    home.write(
        ".config/Code/User/mcp.json",
        r#"{"servers": {
            "good": {"command": "x"},
            "asks": {"command": "x", "env": {"K": "${input:key}"}},
            "unset": {"command": "${NOT_SET}/x"},
            "off": {"command": "y", "disabled": true},
            "old": {"type": "sse", "url": "https://example.com/sse"}
        }}"#,
    );
    let installed = document(&home, &["install", "--client", "vscode"], 0);
    let kept = installed[0]["kept"].as_array().expect("a list").iter();
    let kept: Vec<_> = kept
        .map(|kept| kept["name"].as_str().expect("a text"))
        .collect();
    assert_eq!(kept, ["asks", "off", "old", "unset"]);
    let left = entries(&home, ".config/Code/User/mcp.json", "servers");
    let left: Vec<_> = left.as_object().expect("a table").keys().collect();
    assert_eq!(left, ["asks", "mcp-pool", "off", "old", "unset"]);
    assert_eq!(entries_of_own(&home), json!({"good": {"command": "x"}}));
}

#[test]
fn a_file_that_was_edited_since_keeps_the_edits_and_gets_its_servers_back() {
    let home = Home::new();
    home.write(
        DESKTOP,
        "{\n  \"mcpServers\": {\n    \"a\": {\n      // mine\n      \"command\": \"x\"\n    },\n    \"b\": {\"command\": \"y\"}\n  }\n}\n",
    );
    home.command(&["install", "--client", "claude-desktop"])
        .assert()
        .code(0);
    let mut edited = Document::open(&home.path().join(DESKTOP)).expect("the file is sound");
    edited
        .set(&["theme"], &json!("dark"))
        .expect("the file can be edited");
    edited
        .set(&["mcpServers", "b"], &json!({"command": "newer"}))
        .expect("the file can be edited");
    home.write(DESKTOP, edited.text());
    let restored = document(&home, &["uninstall"], 0);
    assert_eq!(restored[0]["restored"], "edited");
    assert_eq!(restored[0]["put_back"], json!(["a"]));
    let now = Document::open(&home.path().join(DESKTOP)).expect("the file is sound");
    assert_eq!(
        *now.tree(),
        json!({"mcpServers": {"a": {"command": "x"}, "b": {"command": "newer"}}, "theme": "dark"})
    );
    assert!(now.text().contains("// mine"), "{}", now.text());
}

#[test]
fn a_second_install_changes_nothing_and_takes_over_what_is_new() {
    let home = Home::new();
    let text = CLIENTS[0].3;
    home.write(DESKTOP, text);
    home.command(&["install", "--client", "claude-desktop"])
        .assert()
        .code(0);
    let first = read(&home, DESKTOP);
    home.command(&["install", "--client", "claude-desktop"])
        .assert()
        .code(0);
    assert_eq!(read(&home, DESKTOP), first);

    let mut edited = Document::open(&home.path().join(DESKTOP)).expect("the file is sound");
    edited
        .set(&["mcpServers", "new"], &json!({"command": "n"}))
        .expect("the file can be edited");
    home.write(DESKTOP, edited.text());
    home.command(&["install", "--client", "claude-desktop"])
        .assert()
        .code(0);
    assert_eq!(
        entries(&home, DESKTOP, "mcpServers")
            .as_object()
            .map(serde_json::Map::len),
        Some(1)
    );
    assert_eq!(entries_of_own(&home)["new"], json!({"command": "n"}));
    home.command(&["uninstall"]).assert().code(0);
    assert_eq!(
        entries(&home, DESKTOP, "mcpServers"),
        json!({"a": {"command": "x"}, "new": {"command": "n"}})
    );
}

#[test]
fn a_dry_run_changes_nothing() {
    let home = Home::new();
    home.write(DESKTOP, CLIENTS[0].3);
    let shown = document(
        &home,
        &["install", "--dry-run", "--client", "claude-desktop"],
        0,
    );
    assert_eq!(shown[0]["moved"][0]["name"], "a");
    assert_eq!(read(&home, DESKTOP), CLIENTS[0].3);
    assert!(!home.path().join(OWN).exists());
    home.command(&["uninstall", "--client", "claude-desktop"])
        .assert()
        .code(1);
}

#[test]
fn a_client_file_that_cannot_be_changed_is_left_alone() {
    let home = Home::new();
    let broken = home.write(DESKTOP, "{\"mcpServers\": ");
    home.command(&["install", "--client", "claude-desktop"])
        .assert()
        .code(1);
    assert_eq!(read(&home, DESKTOP), "{\"mcpServers\": ");
    fs::write(&broken, CLIENTS[0].3).expect("a file can be written");
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o444)).expect("the mode can be set");
    let output = home
        .command(&["install", "--client", "claude-desktop"])
        .assert()
        .code(1);
    let text = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(text.contains("is read-only"), "{text}");
    assert_eq!(read(&home, DESKTOP), CLIENTS[0].3);
}

#[test]
fn what_install_says_fits_into_eighty_columns_but_for_paths() {
    let home = Home::new();
    home.write(DESKTOP, CLIENTS[0].3);
    for arguments in [
        &["install", "--client", "claude-desktop"][..],
        &["uninstall"],
    ] {
        let output = home.command(arguments).assert().code(0);
        let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
        let is_long = |line: &&str| line.chars().count() > 80 && !line.contains("~/");
        assert_eq!(text.lines().find(is_long), None, "{text}");
    }
}

fn space() -> impl Strategy<Value = String> {
    let spaces = [
        "",
        " ",
        "\n",
        "\n  ",
        "\r\n\t",
        "\n\n    ",
        "// n\n",
        "/* a, {b} */",
        "\r\n",
    ];
    prop::sample::select(spaces.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_file_of_any_formatting_is_restored_byte_for_byte(
        s in prop::collection::vec(space(), 10),
        count in 0_usize..4,
        mark in any::<bool>(),
    ) {
        let entries: String = (0..count)
            .map(|index| format!("{}\"s{index}\"{}:{}{{\"command\":{}\"x{index}\"}}{},", s[0], s[1], s[2], s[3], s[4]))
            .collect();
        let mark = if mark { "\u{feff}" } else { "" };
        let text = format!(
            "{mark}{}{{{}\"servers\"{}:{}{{{entries}{}}},\"x\":1{}}}{}",
            s[5], s[6], s[7], s[8], s[9], s[4], s[5]
        );
        let home = Home::new();
        let path = ".config/Code/User/mcp.json";
        home.write(path, &text);
        home.command(&["install", "--client", "vscode"]).assert().code(0);
        let servers = entries_of(&home, path);
        prop_assert_eq!(servers, 1);
        home.command(&["uninstall"]).assert().code(0);
        prop_assert_eq!(read(&home, path), text);
    }
}

fn entries_of(home: &Home, path: &str) -> usize {
    entries(home, path, "servers")
        .as_object()
        .map_or(0, serde_json::Map::len)
}

#[test]
fn a_client_whose_folder_has_changed_keeps_the_way_back_to_its_first_file() {
    let home = Home::new();
    let text = "[mcp_servers.a]\ncommand = \"x\"\n";
    let file = |folder: &str| home.write(format!("{folder}/config.toml"), text);
    let (first, second) = (file("first"), file("second"));
    let run = |folder: &str, command: &str| {
        let mut command = home.command(&[command, "--client", "codex"]);
        command.env("CODEX_HOME", home.path().join(folder)).assert()
    };
    run("first", "install").success();
    let refused = run("second", "install").code(1);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(
        said.contains("Fix: mcp-pool uninstall --client codex"),
        "{said}"
    );
    run("second", "uninstall").success();
    let read = |path| fs::read_to_string(path).expect("the file is there");
    assert_eq!(read(&first), text);
    run("second", "install").success();
    assert_ne!(read(&second), text);
}
