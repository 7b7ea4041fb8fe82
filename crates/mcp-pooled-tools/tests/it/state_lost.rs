//! Loss of pinned state is reported once, and only to its scope.

use crate::common;
use crate::common::wired;
use std::time::Duration;

use common::whoami;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, Error, ErrorKind, PoolSettings, PooledTools, Replay,
    config::{CircuitBreakerSettings, Sharing, Validate},
};
use mcp_testkit::{Faults, TestServer};
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tokio::time::{Instant, sleep};
use wired::{Wired, status};

const SECOND: Duration = Duration::from_secs(1);

fn pinned() -> PoolSettings {
    PoolSettings::new()
        .sharing(Sharing::Pinned)
        .connection_timeout(10 * SECOND)
}

async fn session(tools: &PooledTools) -> Result<u64, Error> {
    let seen = whoami(&tools.call("whoami", json!({})).await?);
    Ok(seen["session"].as_u64().expect("a number"))
}

fn assert_lost(outcome: Result<u64, Error>, why: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StateLost, "{error}");
    assert!(error.is_state_lost() && !error.is_retryable());
    let text = error.to_string();
    assert!(text.contains("`test`") && text.contains(why), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_scope_whose_session_died_is_told_once_why_and_then_given_a_fresh_one() {
    let wired = Wired::new(TestServer::new());
    // What is fetched beside the calls takes nothing from them.
    let manager = wired.manager(pinned().validate(Validate::Arguments)).await;
    let (one, other) = (
        manager.tools("test").unwrap(),
        manager.tools("test").unwrap(),
    );
    let (first, second) = (session(&one).await.unwrap(), session(&other).await.unwrap());
    sleep(60 * SECOND).await;
    wired.cut();
    sleep(SECOND).await;
    for (tools, lost) in [(&one, first), (&other, second)] {
        assert_lost(session(tools).await, "its process or connection ended");
        assert_ne!(session(tools).await.unwrap(), lost);
    }
    let server = manager.summary().pool_metrics[0].clone();
    assert_eq!(server.window.faults, 0, "it says nothing new of the server");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_lost_with_its_session_is_not_made_again_on_a_fresh_one() {
    for replay in [Replay::Safe, Replay::Always] {
        let wired = Wired::new(TestServer::with_faults(Faults {
            exit_mid_call: Some("count".into()),
            ..Faults::default()
        }));
        let manager = wired.manager(pinned().replay(replay)).await;
        let tools = manager.tools("test").unwrap();
        let before = session(&tools).await.unwrap();
        let error = tools.call("count", json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert_eq!(wired.server.calls_of("count"), 1);
        sleep(SECOND).await;
        assert_lost(session(&tools).await, "its process or connection ended");
        assert_ne!(session(&tools).await.unwrap(), before);
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn neither_age_nor_a_breaker_takes_the_state_of_a_scope() {
    let breaker = CircuitBreakerSettings::new()
        .failure_threshold(2)
        .recovery_timeout(5 * SECOND);
    let wired = Wired::new(TestServer::new());
    let settings = pinned()
        .max_session_age(60 * SECOND)
        .max_idle_time(60 * SECOND)
        .call_timeout(SECOND)
        .circuit_breaker(breaker);
    let manager = wired.manager(settings).await;
    let (one, other) = (
        manager.tools("test").unwrap(),
        manager.tools("test").unwrap(),
    );
    let (first, second) = (session(&one).await.unwrap(), session(&other).await.unwrap());
    sleep(3_600 * SECOND).await;
    for _ in 0..2 {
        other
            .call("sleep", json!({ "ms": 60_000 }))
            .await
            .unwrap_err();
    }
    assert_eq!(status(&manager)["circuit_breaker_state"], "open");
    sleep(12 * SECOND).await;
    assert_eq!(session(&one).await.unwrap(), first);
    assert_eq!(session(&other).await.unwrap(), second);
    assert_eq!(status(&manager)["circuit_breaker_state"], "closed");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_replaces_the_sessions_is_told_to_those_who_had_state_there() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(pinned()).await;
    let (used, listed) = (
        manager.tools("test").unwrap(),
        manager.tools("test").unwrap(),
    );
    session(&used).await.unwrap();
    listed.list_all_tools().await.unwrap();
    manager
        .configure_server("test", pinned().max_message_size(1 << 20))
        .unwrap();
    sleep(60 * SECOND).await;
    assert_lost(session(&used).await, "configuration was changed");
    session(&used).await.unwrap();
    session(&listed).await.unwrap();
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_gives_calls_up_keeps_its_state() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(pinned()).await;
    let tools = manager.tools("test").unwrap();
    let before = session(&tools).await.unwrap();
    let arguments = json!({ "ms": 60_000, "stubborn": true });
    let slow =
        CallToolRequestParams::new("sleep").with_arguments(arguments.as_object().cloned().unwrap());
    let options = CallOptions::new().timeout(SECOND);
    tools.call_tool_with(slow, options).await.unwrap_err();
    sleep(20 * SECOND).await;
    assert_eq!(session(&tools).await.unwrap(), before);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_holds_an_exclusive_session_waits_for_the_call_it_gave_up() {
    let wired = Wired::new(TestServer::new());
    let settings = PoolSettings::new()
        .sharing(Sharing::Exclusive)
        .max_connections(1)
        .cancel_grace(3 * SECOND);
    let manager: ConnectionManager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let held = tools.session().await.unwrap();
    let arguments = json!({ "ms": 60_000, "stubborn": true });
    let slow =
        CallToolRequestParams::new("sleep").with_arguments(arguments.as_object().cloned().unwrap());
    let options = CallOptions::new().timeout(SECOND);
    held.call_tool_with(slow, options).await.unwrap_err();
    let given_up = Instant::now();
    let error = held.call("whoami", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StateLost, "{error}");
    assert!(error.to_string().contains("cancel_grace"), "{error}");
    assert_eq!(given_up.elapsed().as_secs(), 3);
    drop(held);
    tools.call("whoami", json!({})).await.unwrap();
    manager.shutdown().await;
}
