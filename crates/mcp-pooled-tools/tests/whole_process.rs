//! The manager that a whole process shares, made from its environment.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests: tasks are joined here, and a panic is a verdict"
)]

#[path = "it/common/mod.rs"]
mod common;

use std::{path::Path, process::Command};

use common::whoami;
use mcp_pooled_tools::{ErrorKind, PooledTools, pooled_tools};
use mcp_testkit::process as processes;
use serde_json::json;

async fn pid(tools: &PooledTools) -> u32 {
    let answer = tools.call("whoami", json!({})).await.unwrap();
    u32::try_from(whoami(&answer)["pid"].as_u64().unwrap()).unwrap()
}

/// Not a test: the process that those below start, each with an environment of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the tests below"]
async fn a_process_that_asks_by_name() {
    let (one, other) = tokio::join!(pooled_tools("test"), pooled_tools("mcp.test"));
    let (one, other) = (one.unwrap(), other.unwrap());
    let first = pid(&one).await;
    assert_eq!(pid(&other).await, first, "one manager for all who ask");
    let error = pooled_tools("tset").await.unwrap_err();
    assert_eq!(error.to_string(), "there is no server `tset`; known: test");

    mcp_pooled_tools::shutdown().await;
    assert!(!processes::alive(first));
    let error = one.call("whoami", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown);
    // The next caller gets another.
    let second = pid(&pooled_tools("test").await.unwrap()).await;
    assert_ne!(second, first);
    mcp_pooled_tools::shutdown().await;
    assert!(!processes::alive(second));
    mcp_pooled_tools::shutdown().await;
}

/// Not a test either: the error of a process without a configuration.
#[tokio::test]
#[ignore = "run by the tests below"]
async fn a_process_that_has_nothing() {
    let error = pooled_tools("test").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let reported = error.to_string();
    assert!(reported.contains(".mcp.json") && reported.contains("MCP_CONFIG_PATH"));
}

fn run(what: &str, folder: &Path, variable: Option<&Path>) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", what, "--ignored", "--nocapture"])
        .env_remove("MCP_CONFIG_PATH")
        .current_dir(folder);
    if let Some(path) = variable {
        child.env("MCP_CONFIG_PATH", path);
    }
    let ended = child.output().unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    let ran = ended.status.success() && said.contains("1 passed");
    assert!(ran, "{said}\n{complained}");
}

fn configuration() -> String {
    let command = mcp_testkit::binary();
    let server = json!({ "command": command, "pool": { "max_connections": 1 } });
    json!({ "mcpServers": { "test": server } }).to_string()
}

#[test]
fn pain_18_all_who_ask_by_name_share_what_the_current_folder_configures() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".mcp.json"), configuration()).unwrap();
    run("a_process_that_asks_by_name", folder.path(), None);
}

#[test]
fn a_variable_names_another_file() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = there.path().join("servers.json");
    std::fs::write(&file, configuration()).unwrap();
    run("a_process_that_asks_by_name", here.path(), Some(&file));
}

#[test]
fn where_nothing_is_configured_it_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    run("a_process_that_has_nothing", folder.path(), None);
}
