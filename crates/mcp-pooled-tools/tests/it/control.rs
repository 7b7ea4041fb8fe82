//! Operator actions: reset and drain.

use crate::common;
use crate::common::wired;
use std::time::Duration;

use common::text;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, ErrorKind, PoolSettings,
    config::{CircuitBreakerSettings, Replay},
};
use mcp_testkit::TestServer;
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use wired::{Wired, status};

const SECOND: Duration = Duration::from_secs(1);

fn sleeping(ms: u64) -> CallToolRequestParams {
    let arguments = json!({ "ms": ms }).as_object().cloned();
    CallToolRequestParams::new("sleep").with_arguments(arguments.unwrap())
}

async fn manager(wired: &Wired) -> ConnectionManager {
    let breaker = CircuitBreakerSettings::new()
        .failure_threshold(1)
        .recovery_timeout(600 * SECOND);
    wired
        .manager(
            PoolSettings::new()
                .replay(Replay::Never)
                .call_timeout(SECOND)
                .circuit_breaker(breaker),
        )
        .await
}

#[tokio::test(start_paused = true)]
async fn a_reset_closes_the_breaker_and_retires_what_is_under_suspicion() {
    let wired = Wired::new(TestServer::new());
    let manager = manager(&wired).await;
    let tools = manager.tools("test").unwrap();
    let call = || tools.call("echo", json!({ "message": "m" }));
    let late = CallOptions::new().timeout(SECOND);
    let error = tools
        .call_tool_with(sleeping(5_000), late)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(
        call().await.unwrap_err().kind(),
        ErrorKind::CircuitOpen,
        "open for ten minutes"
    );

    let done = manager.reset("test").unwrap();
    assert_eq!(done.breakers_closed, 1);
    assert_eq!(status(&manager)["circuit_breaker_state"], "closed");
    assert_eq!(text(&call().await.unwrap()), "m");
    assert_eq!(
        manager.reset("test").unwrap().breakers_closed,
        0,
        "it was closed"
    );
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_reset_a_server_that_did_not_open_is_tried_at_once() {
    let wired = Wired::new(TestServer::new());
    wired.go_down();
    let manager = wired
        .manager(PoolSettings::new().retry_delay(600 * SECOND))
        .await;
    let tools = manager.tools("test").unwrap();
    let call = || tools.call("echo", json!({ "message": "m" }));
    call().await.unwrap_err();
    wired.come_up();
    call().await.unwrap_err();
    assert_eq!(wired.opens(), 1, "openings back off");

    manager.reset("test").unwrap();
    assert_eq!(text(&call().await.unwrap()), "m");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_replaces_every_session_and_fails_no_call() {
    let wired = Wired::new(TestServer::new());
    let manager = manager(&wired).await;
    let tools = manager.tools("test").unwrap();
    let slow = tokio::spawn({
        let tools = tools.clone();
        let patient = CallOptions::new().timeout(60 * SECOND);
        async move { tools.call_tool_with(sleeping(5_000), patient).await }
    });
    // The second makes sure that the first is under way.
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
    let before = manager.pool_status("test").unwrap();
    let old: Vec<_> = before.sessions.iter().map(|session| session.id).collect();

    let drain = tokio::spawn({
        let manager = manager.clone();
        async move { manager.drain("test").await }
    });
    tokio::task::yield_now().await;
    for _ in 0..3 {
        assert_eq!(
            text(&tools.call("echo", json!({ "message": "m" })).await.unwrap()),
            "m",
            "served beside the drain"
        );
    }
    assert!(!drain.is_finished(), "a call is still under way");
    slow.await.unwrap().unwrap();
    assert_eq!(drain.await.unwrap().unwrap().sessions, old.len());
    let after = manager.pool_status("test").unwrap();
    assert!(
        after
            .sessions
            .iter()
            .all(|session| !old.contains(&session.id)),
        "{after:?}"
    );
    assert_eq!(after.opened, before.opened + 1);
    manager.shutdown().await;
    assert_eq!(
        manager.drain("test").await.unwrap_err().kind(),
        ErrorKind::ShuttingDown
    );
}

#[tokio::test]
async fn what_is_not_there_or_switched_off_cannot_be_reset_or_drained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let servers = json!({ "mcpServers": { "off": { "command": "nothing", "disabled": true } } });
    std::fs::write(&file, servers.to_string()).unwrap();
    let manager = ConnectionManager::from_file(&file).await.unwrap();
    for (server, says) in [("off", "off"), ("nobody", "known: off")] {
        let errors = [
            manager.reset(server).unwrap_err(),
            manager.drain(server).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
