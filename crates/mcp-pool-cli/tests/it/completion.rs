//! Completion in the shell, and manual pages.

use std::time::{Duration, Instant};

use mcp_testkit::Lateness;
use serde_json::{Map, json};

use crate::{
    documents::document,
    home::{Home, test_server},
};

/// What the shell would offer for the last of these words, but for options.
fn candidates(home: &Home, words: &[&str]) -> Vec<String> {
    let index = words.len().to_string();
    let mut command = home.command(&["--", "mcp-pool"]);
    command
        .args(words)
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", index)
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_COMPLETE_SPACE", "true")
        .env("_CLAP_IFS", "\n");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let offered = text.lines().filter(|line| !line.starts_with('-'));
    offered.map(str::to_owned).collect()
}

#[test]
fn servers_tools_and_arguments_are_completed_from_what_is_on_disk() {
    let home = Home::new();
    home.servers(json!({ "kit": test_server(&[]), "other": { "command": "no-such-program" } }));
    assert_eq!(
        candidates(&home, &["call", "ki"]),
        ["kit."],
        "nothing is listed yet"
    );
    home.command(&["list", "kit"]).assert().success();
    assert_eq!(candidates(&home, &["call", "kit.ad"]), ["kit.add"]);
    assert_eq!(candidates(&home, &["call", "kit.add", ""]), ["a=", "b="]);
    assert_eq!(candidates(&home, &["list", "o"]), ["other"]);
    assert_eq!(candidates(&home, &["bench", ""]), ["kit", "other"]);
    assert!(candidates(&home, &["com"]).contains(&"completions".to_owned()));
}

#[test]
fn completion_takes_less_than_50_ms_and_starts_no_server() {
    let home = Home::new();
    let names: Vec<_> = (0..15)
        .map(|number| format!("a_tool_of_some_length_{number}"))
        .collect();
    let set = json!({ "names": names }).to_string();
    // One server is listed, and its lists are those of all.
    home.servers(json!({ "s0": test_server(&[]) }));
    home.command(&["call", "s0.set_tools", "--args", &set])
        .assert()
        .success();
    let folder = home.path().join(".local/state/mcp-pool/catalogue");
    let listed = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut lists: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&listed).unwrap()).unwrap();
    let tools = lists["lists"]["lists"]
        .as_object_mut()
        .unwrap()
        .values_mut()
        .find_map(|list| {
            list["items"]
                .as_array_mut()
                .filter(|items| items.len() > 10)
        })
        .unwrap();
    tools.truncate(15);
    assert_eq!(tools.len(), 15);
    let mut servers = Map::new();
    for number in 0..20 {
        let name = format!("s{number}");
        lists["server"] = name.as_str().into();
        let path = folder.join(format!("{name}.json"));
        std::fs::write(path, lists.to_string()).unwrap();
        // It fails if it is started, and says so in a file.
        let touch = format!("touch {}", home.path().join("started").display());
        servers.insert(name, json!({ "command": "sh", "args": ["-c", touch] }));
    }
    std::fs::remove_file(listed).unwrap();
    home.servers(servers.into());
    assert_eq!(candidates(&home, &["call", ""]).len(), 300);
    let lateness = Lateness::watch();
    let fastest = (0..10).map(|_| {
        let began = Instant::now();
        candidates(&home, &["call", "s1"]);
        began.elapsed()
    });
    let fastest = fastest.min().unwrap();
    lateness.assert_within(Duration::from_millis(50), fastest);
    assert!(!home.path().join("started").exists());
}

#[test]
fn scripts_and_manual_pages_are_made() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let made = document(&home, &["completions", shell], 0);
        let script = made["script"].as_str().unwrap();
        assert!(
            script.contains("mcp-pool") && script.contains("COMPLETE"),
            "{script}"
        );
    }
    home.command(&["completions", "tcsh"]).assert().code(1);
    let page = home.command(&["man"]).output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(
        page.contains(".TH MCP-POOL 1") && page.contains("mcp\\-pool\\-call"),
        "{page}"
    );
    let made = document(&home, &["man", "--dir", "pages"], 0);
    let names: Vec<_> = made["pages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|page| page["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"mcp-pool-call.1"), "{names:?}");
    assert!(home.path().join("pages/mcp-pool-call.1").exists());
}
