//! The breaker, held sessions, and calls that may always be repeated.

use crate::common::wired;
use std::time::Duration;

use mcp_pooled_tools::{
    CallOptions, ConnectionManager, ErrorKind, PinnedSession, PoolSettings, PooledTools, Replay,
    config::CircuitBreakerSettings,
};
use mcp_testkit::{Faults, TestServer};
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tokio::time::sleep;
use wired::{Wired, status};

const RECOVERY: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_millis(50);

fn settings(failure_threshold: u32) -> PoolSettings {
    PoolSettings::new().call_timeout(LIMIT).circuit_breaker(
        CircuitBreakerSettings::new()
            .failure_threshold(failure_threshold)
            .recovery_timeout(RECOVERY),
    )
}

fn sleep_for_a_minute() -> CallToolRequestParams {
    let arguments = json!({ "ms": 60_000 });
    CallToolRequestParams::new("sleep").with_arguments(arguments.as_object().cloned().unwrap())
}

fn soon() -> CallOptions {
    CallOptions::new().timeout(LIMIT)
}

fn state(manager: &ConnectionManager) -> serde_json::Value {
    status(manager)["circuit_breaker_state"].clone()
}

async fn run_out_of_time(tools: &PooledTools, times: usize) {
    for _ in 0..times {
        let error = tools
            .call_tool_with(sleep_for_a_minute(), soon())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
}

async fn run_out_of_time_on(session: &PinnedSession) {
    let error = session
        .call_tool_with(sleep_for_a_minute(), soon())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test(start_paused = true)]
async fn nobody_holds_a_session_of_a_server_that_is_cut_off() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings(3).replay(Replay::Never)).await;
    let tools = manager.tools("test").unwrap();
    let held = tools.session().await.unwrap();
    run_out_of_time(&tools, 3).await;
    assert_eq!(state(&manager), "open");
    let (opens, calls) = (wired.opens(), wired.server.calls());
    let echo = CallToolRequestParams::new("whoami");
    for error in [
        tools.session().await.unwrap_err(),
        tools.batch([echo.clone()]).await.unwrap_err(),
        held.call_tool(echo).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::CircuitOpen, "{error}");
        assert!(
            error
                .retry_after()
                .is_some_and(|after| after <= RECOVERY * 2)
        );
    }
    assert_eq!((wired.opens(), wired.server.calls()), (opens, calls));
    drop(held);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_held_session_whose_calls_run_out_of_time_counts_against_its_server() {
    let manager = Wired::new(TestServer::new()).manager(settings(3)).await;
    let tools = manager.tools("test").unwrap();
    let held = tools.session().await.unwrap();
    for _ in 0..3 {
        assert_eq!(state(&manager), "closed");
        run_out_of_time_on(&held).await;
    }
    assert_eq!(state(&manager), "open");
    drop(held);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_on_calling_on_a_dead_session_harms_nobody_else() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings(3)).await;
    let tools = manager.tools("test").unwrap();
    let held = tools.session().await.unwrap();
    sleep(Duration::from_secs(60)).await;
    wired.cut();
    sleep(Duration::from_millis(100)).await;
    for _ in 0..10 {
        held.call("whoami", json!({})).await.unwrap_err();
    }
    assert_eq!(state(&manager), "closed");
    tools.call("whoami", json!({})).await.unwrap();
    drop(held);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_held_since_before_the_trip_does_not_show_that_the_server_has_recovered() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings(3).replay(Replay::Never)).await;
    let tools = manager.tools("test").unwrap();
    let held = tools.session().await.unwrap();
    run_out_of_time(&tools, 3).await;
    sleep(RECOVERY * 2).await;
    for _ in 0..5 {
        held.call("whoami", json!({})).await.unwrap();
    }
    assert_eq!(state(&manager), "half_open");
    for _ in 0..2 {
        tools.call("whoami", json!({})).await.unwrap();
    }
    assert_eq!(state(&manager), "closed");
    drop(held);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_run_is_said_so_also_if_its_second_attempt_never_left() {
    // The first loss cuts the server off, so that the second attempt is refused; or it does not, and the server is gone.
    for threshold in [1, 1_000] {
        let wired = Wired::new(TestServer::with_faults(Faults {
            exit_mid_call: Some("count".into()),
            ..Faults::default()
        }));
        let manager = wired
            .manager(settings(threshold).replay(Replay::Always))
            .await;
        let tools = manager.tools("test").unwrap();
        tools.list_all_tools().await.unwrap();
        let down = {
            let wired = wired.clone();
            async move {
                while wired.server.calls_of("count") == 0 {
                    tokio::task::yield_now().await;
                }
                wired.go_down();
            }
        };
        let (outcome, ()) = tokio::join!(tools.call("count", json!({})), down);
        let error = outcome.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::OutcomeUnknown,
            "{threshold}: {error}"
        );
        assert!(!error.is_retryable());
        assert_eq!(wired.server.calls_of("count"), 1);
        manager.shutdown().await;
    }
}
