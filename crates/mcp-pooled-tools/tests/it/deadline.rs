//! Deadlines hold, whatever the server does.

#![allow(
    deprecated,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests: tasks are joined here, and a panic is a verdict"
)]

use crate::common;
use std::time::{Duration, Instant};

use common::{LONG, manager, process, text};
use mcp_pooled_tools::{CallOptions, ErrorKind, Phase, PoolSettings, ServerConfig};
use mcp_testkit::{Era, Faults, Hang, HttpOptions, HttpServer, Lateness, TestServer};
use rmcp::model::{CallToolRequestParams, LoggingLevel, SetLevelRequestParams};
use serde_json::json;
use tokio::task::JoinSet;

fn params(name: &'static str, arguments: serde_json::Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name)
        .with_arguments(arguments.as_object().cloned().expect("an object"))
}

#[allow(
    clippy::disallowed_methods,
    reason = "the wall clock is what is measured"
)]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_04_a_frozen_server_does_not_hold_a_call_beyond_its_deadline_even_with_a_full_pipe() {
    // It reads nothing after the handshake: a megabyte of arguments fills the pipe and stays in it.
    let manager = manager(
        process(&["--freeze-stdin"]),
        PoolSettings::new().shutdown_grace(Duration::from_millis(500)),
    )
    .await;
    let tools = manager.tools("test").unwrap();
    let options = CallOptions::new().timeout(Duration::from_millis(500));
    for bytes in [10, 1_000_000, 1_000_000] {
        // Opened beforehand, so that the time is that of the call alone.
        drop(tools.session().await.unwrap());
        let message = params("echo", json!({ "message": "x".repeat(bytes) }));
        let (machine, began) = (Lateness::watch(), now());
        let error = tools
            .call_tool_with(message, options.clone())
            .await
            .unwrap_err();
        let took = began.elapsed();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert_eq!(error.phase(), Some(Phase::Call), "{error}");
        assert!(took >= Duration::from_millis(500), "{took:?}");
        machine.assert_within(Duration::from_millis(50), took - Duration::from_millis(500));
    }
    let began = now();
    manager.shutdown().await;
    assert!(began.elapsed() < LONG, "shutdown ends in bounded time");
}

/// rmcp's own limits fire late over HTTP, and one after the other. A plain timer of the same length says how late the
/// machine is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_over_http_holds_none_of_four_calls_beyond_its_deadline() {
    const LIMIT: Duration = Duration::from_millis(500);
    let hangs = Faults {
        hang: Some(Hang::AfterHandshake),
        ..Faults::default()
    };
    let server = HttpServer::start(HttpOptions {
        server: TestServer::with_faults(hangs),
        // The first session of a modern one lists its tools.
        era: Era::Legacy,
        ..HttpOptions::default()
    })
    .await;
    let settings = PoolSettings::new()
        .max_connections(1)
        .shutdown_grace(Duration::from_millis(500));
    let manager = manager(ServerConfig::http(server.url()), settings).await;
    let tools = manager.tools("test").unwrap();
    drop(tools.session().await.unwrap());

    let machine = Lateness::watch();
    let mut calls = JoinSet::new();
    for number in 0..4 {
        let tools = tools.clone();
        let echo = params("echo", json!({ "message": number }));
        calls.spawn(async move {
            let options = CallOptions::new().timeout(LIMIT);
            (tools.call_tool_with(echo, options).await, now())
        });
    }
    let timer = tokio::spawn(async {
        tokio::time::sleep(LIMIT).await;
        now()
    });
    let ended = calls.join_all().await;
    let limit = timer.await.unwrap();
    for (outcome, when) in ended {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert_eq!(error.phase(), Some(Phase::Call), "{error}");
        let late = when.saturating_duration_since(limit);
        machine.assert_within(Duration::from_millis(50), late);
    }
    assert_eq!(manager.pool_status("test").unwrap().in_flight, 0);
    let began = now();
    manager.shutdown().await;
    assert!(began.elapsed() < LONG, "shutdown ends in bounded time");
}

#[tokio::test]
async fn an_error_of_time_names_the_phase_in_which_it_passed() {
    let settings = PoolSettings::new().connection_timeout(Duration::from_millis(200));
    let manager = manager(process(&["--hang-before-handshake"]), settings).await;
    let error = manager
        .tools("test")
        .unwrap()
        .list_all_tools()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_ne!(error.phase(), Some(Phase::Call));
    assert!(error.is_retryable());
    assert!(error.to_string().contains("connection_timeout"), "{error}");
    manager.shutdown().await;
}

#[tokio::test]
async fn pain_21_a_call_that_was_given_up_leaves_the_session_usable_and_tells_the_server() {
    let manager = manager(process(&[]), PoolSettings::new().max_connections(1)).await;
    let tools = manager.tools("test").unwrap();
    let pid = tools.call("whoami", json!({})).await.unwrap();
    let slow = tools.call("sleep", json!({ "ms": 60_000 }));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), slow)
            .await
            .is_err()
    );
    // The same process answers, and at once: the sleep was cancelled, not waited for.
    let again = tools.call("whoami", json!({})).await.unwrap();
    assert_eq!(common::whoami(&pid)["pid"], common::whoami(&again)["pid"]);
    assert_eq!(manager.pool_status("test").unwrap().in_flight, 0);
    manager.shutdown().await;
}

#[tokio::test]
async fn pain_09_one_caller_out_of_time_does_not_disturb_another_on_the_same_session() {
    let manager = manager(process(&[]), PoolSettings::new().max_connections(1)).await;
    let tools = manager.tools("test").unwrap();
    common::echo(&tools, "open").await;
    let options = CallOptions::new().timeout(Duration::from_millis(50));
    let (hasty, patient) = tokio::join!(
        tools.call_tool_with(params("sleep", json!({ "ms": 60_000 })), options),
        tools.call("sleep", json!({ "ms": 300 })),
    );
    assert_eq!(hasty.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(!text(&patient.unwrap()).is_empty());
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setting_the_log_level_does_not_wait_for_a_frozen_session() {
    let settings = PoolSettings::new()
        .call_timeout(Duration::from_secs(2))
        .probe_timeout(Duration::from_millis(200))
        .shutdown_grace(Duration::from_millis(100));
    let manager = manager(process(&["--era", "legacy"]), settings).await;
    let tools = manager.tools("test").unwrap();
    let (one, other) = (
        tools.session().await.unwrap(),
        tools.session().await.unwrap(),
    );
    let frozen = other.session().pid().expect("a process");
    mcp_testkit::process::signal(frozen, mcp_testkit::process::Signal::STOP).unwrap();
    drop(one);
    let level = level_of_info();
    tokio::time::timeout(LONG, tools.set_level(level))
        .await
        .expect("it ends")
        .unwrap();
    drop(other);
    manager.shutdown().await;
}

#[allow(
    deprecated,
    reason = "deprecated by the protocol, still part of the plain client"
)]
fn level_of_info() -> SetLevelRequestParams {
    SetLevelRequestParams::new(LoggingLevel::Info)
}

#[tokio::test]
async fn the_longest_limit_there_is_means_no_limit() {
    let manager = common::in_process(&TestServer::new(), PoolSettings::new()).await;
    let options = CallOptions::new()
        .timeout(Duration::MAX)
        .max_total(Duration::MAX)
        .reset_on_progress();
    let echo = params("echo", json!({ "message": "x" }));
    let result = manager
        .tools("test")
        .unwrap()
        .call_tool_with(echo, options)
        .await
        .unwrap();
    assert_eq!(text(&result), "x");
    manager.shutdown().await;
}
