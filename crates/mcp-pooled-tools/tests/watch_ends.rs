//! Watching ends with its manager. Alone in its program, because it counts threads.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests: tasks are joined here, and a panic is a verdict"
)]
#![cfg(target_os = "linux")]

#[path = "it/common/mod.rs"]
mod common;

use std::{fs, path::Path};

use common::LONG;
use mcp_pooled_tools::{ConnectionManager, ErrorKind, config::Loader};
use mcp_testkit::process as processes;
use serde_json::json;

/// Threads that follow files.
fn watchers() -> usize {
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| name(task.ok()?))
        .filter(|name| name.starts_with("mcp-config-wat"))
        .count()
}

async fn watching(file: &Path) -> ConnectionManager {
    let loader = Loader::new().file(file);
    let manager = ConnectionManager::from_loader(loader).await.unwrap();
    manager.watch().unwrap();
    manager.watch().unwrap();
    assert!(
        processes::wait_until(LONG, || watchers() == 1).await,
        "asked for twice, done once"
    );
    manager
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watch_ends_with_shutdown_and_with_the_last_clone_of_the_manager() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let server = json!({ "command": mcp_testkit::binary() });
    fs::write(&file, json!({ "a": server }).to_string()).unwrap();

    let manager = watching(&file).await;
    let tools = manager.tools("a").unwrap();
    tools.call("echo", json!({ "message": "x" })).await.unwrap();
    manager.shutdown().await;
    assert_eq!(watchers(), 0);
    let error = manager.watch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown);
    let config = Loader::new().text("f", "{}").load().unwrap();
    let error = manager.reload(config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown);
    let error = tools.call("echo", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown);
    assert_eq!(manager.status().reloads, 0);

    let manager = watching(&file).await;
    let clone = manager.clone();
    drop(manager);
    assert_eq!(watchers(), 1);
    drop(clone);
    assert_eq!(watchers(), 0);
}
