//! The API for code without async.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests: tasks are joined here, and a panic is a verdict"
)]

mod common;

use common::{process, text, whoami};
use mcp_pooled_tools::{ConnectionManager, ErrorKind, PoolSettings, blocking};
use serde_json::json;

fn manager() -> blocking::ConnectionManager {
    let builder = ConnectionManager::builder()
        .server("test", process(&[]))
        .defaults(PoolSettings::new().min_connections(0));
    blocking::ConnectionManager::build(builder).unwrap()
}

#[test]
fn code_without_async_calls_tools_over_one_live_session() {
    let manager = manager();
    let tools = manager.tools("test").unwrap();
    let first = whoami(&tools.call("whoami", json!({})).unwrap());
    let second = whoami(&tools.call("whoami", json!({})).unwrap());
    assert_eq!(first["pid"], second["pid"]);
    assert!(
        tools
            .list_all_tools()
            .unwrap()
            .iter()
            .any(|tool| tool.name == "echo")
    );
    assert!(
        tools
            .tool_schema("echo")
            .unwrap()
            .contains_key("properties")
    );
    manager.shutdown().unwrap();
    assert_eq!(
        tools.call("echo", json!({})).unwrap_err().kind(),
        ErrorKind::ShuttingDown
    );
}

#[test]
fn threads_share_it() {
    let manager = manager();
    let tools = manager.tools("test").unwrap();
    let threads: Vec<_> = (0..8)
        .map(|n: i32| {
            let tools = tools.clone();
            std::thread::spawn(move || {
                text(
                    &tools
                        .call("echo", json!({ "message": n.to_string() }))
                        .unwrap(),
                )
            })
        })
        .collect();
    let answers: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(answers, (0..8).map(|n| n.to_string()).collect::<Vec<_>>());
    manager.shutdown().unwrap();
}

#[tokio::test]
async fn in_async_code_it_says_so_and_does_not_panic() {
    let built = tokio::task::spawn_blocking(|| std::thread::spawn(manager).join().unwrap())
        .await
        .unwrap();
    let error = built.tools("test").unwrap().list_all_tools().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("async"), "{error}");
    drop(built);
}

#[tokio::test]
async fn on_a_thread_where_waiting_is_allowed_it_waits() {
    let echoed = tokio::task::spawn_blocking(|| {
        let manager = manager();
        let echoed = text(
            &manager
                .tools("test")
                .unwrap()
                .call("echo", json!({ "message": "x" }))
                .unwrap(),
        );
        manager.shutdown().unwrap();
        echoed
    });
    assert_eq!(echoed.await.unwrap(), "x");
}

#[test]
fn dropping_it_leaves_no_process() {
    let manager = manager();
    let tools = manager.tools("test").unwrap();
    let pid = whoami(&tools.call("whoami", json!({})).unwrap())["pid"]
        .as_u64()
        .expect("a pid");
    drop((manager, tools));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let gone = mcp_testkit::process::wait_gone([u32::try_from(pid).expect("a pid")], common::LONG);
    assert!(runtime.block_on(gone));
}
