//! The command lines of other programs, which read what `install` wrote, each with its own rules.
//!
//! `POOL_TEST_AGENTS_IN` names the folder in which `claude`, `codex`, `gemini` and their `node` are installed. Without it the
//! test passes without having looked, and says so; with `POOL_TEST_AGENTS=required` it fails instead.

use std::{path::PathBuf, time::Duration};

use assert_cmd::Command;
use serde_json::json;

use crate::home::Home;

#[test]
fn each_program_lists_the_entry_that_install_wrote() {
    let Some(folder) = agents() else { return };
    let home = Home::new();
    home.servers(json!({}));
    for (client, program) in [
        ("claude-code", "claude"),
        ("codex", "codex"),
        ("gemini-cli", "gemini"),
    ] {
        home.command(&["install", "--client", client])
            .assert()
            .code(0);
        let listed = list(&home, &folder, program);
        let entry = format!(
            "{} connect --client {client}",
            env!("CARGO_BIN_EXE_mcp-pool")
        );
        // Codex has columns for the command and its arguments.
        let words = listed.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("mcp-pool") && words.contains(&entry),
            "{program}: {listed}"
        );
        home.command(&["uninstall", "--client", client])
            .assert()
            .code(0);
        let listed = list(&home, &folder, program);
        assert!(!listed.contains("connect --client"), "{program}: {listed}");
    }
}

fn list(home: &Home, folder: &std::path::Path, program: &str) -> String {
    let bin = folder.join("node_modules/.bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Its own node first.
    let node = folder.join("node_modules/node/bin");
    let paths = [node].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(paths).expect("paths can be joined");
    let output = Command::new(bin.join(program))
        .env_clear()
        .env("PATH", path)
        .env("HOME", home.path())
        .env("GEMINI_CLI_TRUST_WORKSPACE", "true")
        .current_dir(home.path())
        .args(["mcp", "list"])
        .timeout(Duration::from_secs(60))
        .assert()
        .success();
    let output = output.get_output();
    // Gemini CLI lists on standard error.
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn agents() -> Option<PathBuf> {
    match std::env::var_os("POOL_TEST_AGENTS_IN") {
        Some(folder) => Some(folder.into()),
        None if std::env::var("POOL_TEST_AGENTS").is_ok_and(|value| value == "required") => {
            panic!("POOL_TEST_AGENTS_IN names no folder")
        }
        None => {
            eprintln!("POOL_TEST_AGENTS_IN is not set: not looked");
            None
        }
    }
}
