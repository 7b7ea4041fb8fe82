//! Which outcomes move the breaker.

use crate::common;
use crate::common::wired;
use std::time::Duration;

use common::manager as manager_of;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, Error, ErrorKind, PoolSettings, PooledTools, ServerConfig,
    config::{CircuitBreakerSettings, Fallback, Lifecycle, Replay},
};
use mcp_testkit::{Faults, HttpOptions, HttpServer, TestServer};
use rmcp::model::{CallToolRequestParams, CallToolResult};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use wired::{Wired, status};

const RECOVERY: Duration = Duration::from_secs(10);

/// Three faults in a row open it.
fn settings() -> PoolSettings {
    PoolSettings::new().replay(Replay::Never).circuit_breaker(
        CircuitBreakerSettings::new()
            .failure_threshold(3)
            .recovery_timeout(RECOVERY),
    )
}

fn once(name: &'static str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name)
        .with_arguments(arguments.as_object().cloned().expect("an object"))
}

async fn echo(tools: &PooledTools) -> Result<CallToolResult, Error> {
    tools.call("echo", json!({ "message": "m" })).await
}

fn state(manager: &ConnectionManager) -> String {
    status(manager)["circuit_breaker_state"]
        .as_str()
        .expect("a state")
        .to_owned()
}

fn faults(manager: &ConnectionManager) -> u64 {
    status(manager)["circuit_breaker"]["faults"]
        .as_u64()
        .expect("a number")
}

fn assert_untouched(manager: &ConnectionManager, by: &str) {
    assert_eq!(
        (state(manager).as_str(), faults(manager)),
        ("closed", 0),
        "{by}"
    );
}

#[tokio::test(start_paused = true)]
async fn pain_15_what_is_no_fault_of_the_server_never_moves_it() {
    let wired = Wired::new(TestServer::new());
    let manager = wired
        .manager(
            settings()
                .max_connections(1)
                .max_in_flight(1)
                .max_waiters(1)
                .fallback(Fallback::Error),
        )
        .await;
    let tools = manager.tools("test").unwrap();
    for _ in 0..10 {
        let result = tools.call("tool_error", json!({ "message": "no" })).await;
        assert_eq!(result.unwrap().is_error, Some(true));
    }
    assert_untouched(&manager, "tool errors");
    for (tool, arguments) in [
        ("echo", json!({ "message": 12 })),
        ("no_such_tool", json!({})),
        (
            "fail",
            json!({ "code": -32601, "message": "unknown method" }),
        ),
        ("fail", json!({ "code": -32603, "message": "internal" })),
    ] {
        for _ in 0..10 {
            let error = tools.call(tool, arguments.clone()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        }
        assert_untouched(&manager, tool);
    }
    for _ in 0..10 {
        let slow = tools.call("sleep", json!({ "ms": 60_000 }));
        assert!(timeout(Duration::from_millis(50), slow).await.is_err());
    }
    assert_untouched(&manager, "callers that went away");
    for _ in 0..10 {
        let token = CancellationToken::new();
        let options = CallOptions::new().cancellation(token.clone());
        let call = tools.call_tool_with(once("sleep", json!({ "ms": 60_000 })), options);
        let (outcome, ()) = tokio::join!(call, async {
            sleep(Duration::from_millis(50)).await;
            token.cancel();
        });
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
    }
    assert_untouched(&manager, "cancelled calls");

    let mut busy = JoinSet::new();
    for _ in 0..2 {
        let tools = tools.clone();
        busy.spawn(async move { tools.call("sleep", json!({ "ms": 1_000 })).await });
    }
    sleep(Duration::from_millis(100)).await;
    for _ in 0..10 {
        let error = echo(&tools).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    }
    assert_untouched(&manager, "full queues");
    for outcome in busy.join_all().await {
        outcome.unwrap();
    }
    assert_eq!(status(&manager)["circuit_breaker"]["rejected"], json!(0));
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn openings_that_fail_open_it_each_counted_once() {
    let wired = Wired::new(TestServer::new());
    wired.go_down();
    let manager = wired.manager(settings()).await;
    let tools = manager.tools("test").unwrap();
    // A herd at a server that is down is one opening, and one fault.
    let herd: JoinSet<_> = (0..50)
        .map(|_| {
            let tools = tools.clone();
            async move { echo(&tools).await }
        })
        .collect();
    for outcome in herd.join_all().await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Connection);
    }
    assert_eq!((wired.opens(), faults(&manager)), (1, 1));
    for _ in 0..2 {
        sleep(Duration::from_secs(5)).await;
        assert_eq!(
            echo(&tools).await.unwrap_err().kind(),
            ErrorKind::Connection
        );
    }
    assert_eq!((wired.opens(), faults(&manager)), (3, 3));
    assert_eq!(state(&manager), "open");
    sleep(Duration::from_secs(5)).await;
    let error = echo(&tools).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CircuitOpen, "{error}");
    assert!(error.retry_after().is_some() && error.is_retryable());
    assert_eq!(wired.opens(), 3, "nothing is tried while it is open");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_fail_open_it() {
    let manager = Wired::new(TestServer::with_faults(Faults {
        fail_first: Some(mcp_testkit::FailFirst {
            openings: 100,
            how: mcp_testkit::OpeningFailure::Error,
            state_file: None,
        }),
        ..Faults::default()
    }))
    .manager(settings())
    .await;
    let tools = manager.tools("test").unwrap();
    for _ in 0..3 {
        echo(&tools).await.unwrap_err();
        sleep(Duration::from_secs(5)).await;
    }
    assert_eq!((state(&manager).as_str(), faults(&manager)), ("open", 3));
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_lose_their_server_open_it() {
    let wired = Wired::new(TestServer::with_faults(Faults {
        exit_mid_call: Some("count".into()),
        ..Faults::default()
    }));
    let manager = wired.manager(settings()).await;
    let tools = manager.tools("test").unwrap();
    for lost in 1..=3 {
        let error = tools.call("count", json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert_eq!(faults(&manager), lost);
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(state(&manager), "open");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn as_many_calls_in_a_row_that_pass_call_timeout_open_it() {
    let limit = Duration::from_secs(2);
    let manager = Wired::new(TestServer::new())
        .manager(settings().call_timeout(limit))
        .await;
    let tools = manager.tools("test").unwrap();
    let slow = || tools.call("sleep", json!({ "ms": 60_000 }));
    for late in 1..=2 {
        assert_eq!(slow().await.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(faults(&manager), late);
    }
    // One that is answered shows that the server is well.
    for _ in 0..20 {
        echo(&tools).await.unwrap();
        assert_eq!(slow().await.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(state(&manager), "closed", "not by the rate either");
    }
    for _ in 0..2 {
        slow().await.unwrap_err();
    }
    assert_eq!(state(&manager), "open");
    manager.shutdown().await;
}

/// Forty callers with time, one with twenty milliseconds for a tool that takes longer.
#[tokio::test(start_paused = true)]
async fn one_impatient_caller_harms_nobody_else() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings().min_connections(1)).await;
    let tools = manager.tools("test").unwrap();
    let mut patient = JoinSet::new();
    for _ in 0..40 {
        let tools = tools.clone();
        patient.spawn(async move {
            for _ in 0..50 {
                tools.call("sleep", json!({ "ms": 10 })).await.unwrap();
            }
        });
    }
    for _ in 0..14 {
        let options = CallOptions::new().timeout(Duration::from_millis(20));
        let slow = once("sleep", json!({ "ms": 60_000 }));
        let error = tools.call_tool_with(slow, options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    while let Some(outcome) = patient.join_next().await {
        outcome.unwrap();
    }
    assert_untouched(&manager, "a caller's own limit");
    assert_eq!(
        status(&manager)["closed"],
        json!({}),
        "no session was replaced"
    );
    let window = manager.summary().pool_metrics[0].window;
    assert_eq!((window.faults, window.error_rate), (0, 0.0));
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_silent_after_a_callers_own_limit_is_a_fault() {
    let wired = Wired::deaf_to("\"ping\"", TestServer::new());
    let legacy = settings().lifecycle(Lifecycle::Initialize);
    let manager = wired.manager(legacy).await;
    let tools = manager.tools("test").unwrap();
    for silent in 1..=3 {
        let options = CallOptions::new().timeout(Duration::from_millis(50));
        let slow = once("sleep", json!({ "ms": 60_000 }));
        tools.call_tool_with(slow, options).await.unwrap_err();
        assert_eq!(faults(&manager), silent - 1, "it may only have been slow");
        sleep(Duration::from_secs(6)).await;
        assert_eq!(faults(&manager), silent);
    }
    assert_eq!(state(&manager), "open");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn sessions_that_drop_as_soon_as_they_are_open_open_it() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings()).await;
    let tools = manager.tools("test").unwrap();
    for flaps in 1..=3 {
        // Opened, and not called.
        drop(tools.session().await.unwrap());
        sleep(Duration::from_secs(1)).await;
        wired.cut();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(faults(&manager), flaps);
    }
    assert_eq!(state(&manager), "open");
    assert_eq!(
        echo(&tools).await.unwrap_err().kind(),
        ErrorKind::CircuitOpen
    );
    manager.shutdown().await;
}

#[tokio::test]
async fn wrong_credentials_are_reported_as_such_and_do_not_move_it() {
    for status in [401, 403] {
        let server = HttpServer::start(HttpOptions {
            status: Some(status),
            ..HttpOptions::default()
        })
        .await;
        let manager = manager_of(ServerConfig::http(server.url()), settings()).await;
        let tools = manager.tools("test").unwrap();
        for _ in 0..10 {
            let error = echo(&tools).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
            assert!(!error.is_retryable());
        }
        assert_untouched(&manager, "wrong credentials");
        // Error rate and alerts count what the breaker counts.
        let server = manager.summary().pool_metrics[0].clone();
        assert_eq!(server.requests, 10);
        assert_eq!((server.window.judged, server.window.error_rate), (0, 0.0));
        manager.shutdown().await;
    }
}
