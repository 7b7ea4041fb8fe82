//! Settings change under load.

use crate::common;
use common::in_process;
use mcp_pooled_tools::{PoolSettings, Sharing};
use mcp_testkit::TestServer;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_change_live_and_no_call_fails() {
    let server = TestServer::new();
    let manager = in_process(&server, PoolSettings::new().min_connections(1)).await;
    let tools = manager.tools("test").unwrap();
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let tools = tools.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    tools.call("echo", json!({ "message": "x" })).await?;
                }
                Ok::<_, mcp_pooled_tools::Error>(())
            })
        })
        .collect();
    let changes = [
        PoolSettings::new().max_connections(4).min_connections(1),
        PoolSettings::new().max_connections(1).min_connections(1),
        PoolSettings::new()
            .sharing(Sharing::Exclusive)
            .max_connections(6),
        PoolSettings::new().sharing(Sharing::Pinned),
        PoolSettings::new()
            .sharing(Sharing::Multiplexed)
            .max_in_flight(2),
    ];
    for change in changes {
        manager.configure_server("test", change).unwrap();
        common::echo(&tools, "between").await;
    }
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    let status = manager.pool_status("test").unwrap();
    assert_eq!((status.in_flight, status.waiters), (0, 0));
    manager.shutdown().await;
}

#[tokio::test]
async fn settings_that_contradict_each_other_change_nothing() {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    let before = manager.pool_status("test").unwrap().connections.max;
    let error = manager
        .configure_server(
            "test",
            PoolSettings::new().min_connections(9).max_connections(3),
        )
        .unwrap_err();
    assert_eq!(error.kind(), mcp_pooled_tools::ErrorKind::Config);
    assert_eq!(manager.pool_status("test").unwrap().connections.max, before);
    manager.shutdown().await;
}

#[test]
fn settings_change_on_a_thread_without_a_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = TestServer::new();
    let manager = runtime.block_on(in_process(&server, PoolSettings::new()));
    let tools = manager.tools("test").unwrap();
    runtime
        .block_on(tools.call("echo", json!({ "message": "before" })))
        .unwrap();
    for change in [
        PoolSettings::new().sharing(Sharing::Pinned),
        PoolSettings::new().max_connections(3),
    ] {
        manager.configure_server("test", change).unwrap();
    }
    runtime
        .block_on(tools.call("echo", json!({ "message": "after" })))
        .unwrap();
    runtime.block_on(manager.shutdown());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_at_once_over_http_take_effect_live() {
    let server = mcp_testkit::HttpServer::start(mcp_testkit::HttpOptions::default()).await;
    let settings = PoolSettings::new().max_connections(1).max_in_flight(2);
    let manager =
        common::manager(mcp_pooled_tools::ServerConfig::http(server.url()), settings).await;
    let tools = manager.tools("test").unwrap();
    common::echo(&tools, "open").await;
    manager
        .configure_server("test", PoolSettings::new().max_in_flight(32))
        .unwrap();
    // Each sleeps until it is cancelled: they are all under way at once, or some never arrive.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let tools = tools.clone();
        calls.spawn(async move { tools.call("sleep", json!({ "ms": 600_000 })).await });
    }
    let arrived = || server.server().calls_of("sleep") == 32;
    assert!(
        mcp_testkit::process::wait_until(common::LONG, arrived).await,
        "{}",
        server.server().calls_of("sleep")
    );
    calls.shutdown().await;
    manager.shutdown().await;
}
