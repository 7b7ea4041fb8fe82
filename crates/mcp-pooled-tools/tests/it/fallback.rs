//! A call may bypass a full pool, within limits, but never a breaker.

use crate::common;
use crate::common::caller;
use crate::common::log;
use crate::common::wired;
use std::time::Duration;

use caller::{Caller, ask};
use common::text;
use log::Log;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, Error, ErrorKind, PoolSettings, PooledTools, Sharing,
    config::{CircuitBreakerSettings, Fallback, Lifecycle, Replay},
    core::OpenErrorKind,
};
use mcp_testkit::TestServer;
use rmcp::model::{CallToolRequestParams, CallToolResult};
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};
use wired::{Trouble, Wired, status};

/// One session for one call, and one caller in line.
fn narrow() -> PoolSettings {
    PoolSettings::new()
        .lifecycle(Lifecycle::Initialize)
        .max_connections(1)
        .max_in_flight(1)
        .max_waiters(1)
        .replay(Replay::Never)
        .circuit_breaker(CircuitBreakerSettings::new().failure_threshold(2))
}

type Outcome = Result<CallToolResult, Error>;

/// Calls that take a second, begun one after the other.
async fn begin(calls: &mut JoinSet<Outcome>, tools: &PooledTools, count: usize) {
    begin_long(calls, tools, count, 1_000).await;
}

async fn begin_long(calls: &mut JoinSet<Outcome>, tools: &PooledTools, count: usize, ms: u64) {
    for _ in 0..count {
        let tools = tools.clone();
        calls.spawn(async move { tools.call("sleep", json!({ "ms": ms })).await });
        sleep(Duration::from_millis(10)).await;
    }
}

/// A pool whose session is taken, and so is its place in line.
async fn busy(settings: PoolSettings) -> (Wired, ConnectionManager, PooledTools, JoinSet<Outcome>) {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let mut calls = JoinSet::new();
    begin(&mut calls, &tools, 2).await;
    (wired, manager, tools, calls)
}

async fn all_answered(calls: JoinSet<Outcome>) {
    for outcome in calls.join_all().await {
        assert_eq!(text(&outcome.unwrap()), "slept 1000 ms");
    }
}

fn fallbacks(manager: &ConnectionManager) -> serde_json::Value {
    status(manager)["fallbacks"].clone()
}

#[tokio::test(start_paused = true)]
async fn two_calls_go_beside_a_full_pool_and_the_third_is_refused() {
    let log = Log::begin();
    let (wired, manager, tools, mut calls) = busy(narrow()).await;
    assert_eq!((wired.opens(), fallbacks(&manager)), (1, json!(0)));
    assert_eq!(log.with("beside the pool").len(), 0);
    begin(&mut calls, &tools, 2).await;
    assert_eq!((wired.opens(), fallbacks(&manager)), (3, json!(2)));
    let lines = log.with("beside the pool");
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        assert_eq!(line.level, tracing::Level::WARN);
        for part in ["tool `sleep`", "server=test", "max_waiters"] {
            assert!(line.text.contains(part), "{part}: {}", line.text);
        }
    }
    assert_eq!(wired.server.calls_of("sleep"), 3, "one waits in line");

    let error = tools
        .call("echo", json!({ "message": "m" }))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.is_retryable());
    assert_eq!((wired.opens(), fallbacks(&manager)), (3, json!(2)));
    assert_eq!(
        log.with("beside the pool").len(),
        2,
        "it was not let beside"
    );
    assert_eq!(status(&manager)["waiters"], json!(1));
    assert_eq!(status(&manager)["in_flight"], json!(1));

    all_answered(calls).await;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(
        wired.server.open_connections(),
        1,
        "what went beside the pool is closed"
    );

    // Their places are free again.
    let mut calls = JoinSet::new();
    begin(&mut calls, &tools, 4).await;
    assert_eq!(fallbacks(&manager), json!(4));
    all_answered(calls).await;
    manager.shutdown().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(wired.server.open_connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_beside_the_pool_that_is_given_up_frees_its_place() {
    let (wired, manager, tools, calls) = busy(narrow().max_direct(1)).await;
    for given_up in 1..=5 {
        let beside = tools.call("sleep", json!({ "ms": 60_000 }));
        tokio::time::timeout(Duration::from_millis(20), beside)
            .await
            .unwrap_err();
        assert_eq!(fallbacks(&manager), json!(given_up));
    }
    all_answered(calls).await;
    manager.shutdown().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(wired.server.open_connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn with_fallback_error_the_caller_gets_the_error_of_the_pool() {
    let (wired, manager, tools, calls) = busy(narrow().fallback(Fallback::Error)).await;
    let error = tools
        .call("echo", json!({ "message": "m" }))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert_eq!((wired.opens(), fallbacks(&manager)), (1, json!(0)));
    all_answered(calls).await;
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_never_gone_around() {
    let wired = Wired::new(TestServer::new());
    let limit = Duration::from_millis(50);
    let manager = wired.manager(narrow().call_timeout(limit)).await;
    let tools = manager.tools("test").unwrap();
    for _ in 0..2 {
        let options = CallOptions::new().timeout(limit);
        let slow = CallToolRequestParams::new("sleep")
            .with_arguments(json!({ "ms": 60_000 }).as_object().cloned().unwrap());
        let error = tools.call_tool_with(slow, options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
    let (opens, calls) = (wired.opens(), wired.server.calls());
    let refused: JoinSet<_> = (0..20)
        .map(|_| {
            let tools = tools.clone();
            async move { tools.call("echo", json!({ "message": "m" })).await }
        })
        .collect();
    for outcome in refused.join_all().await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::CircuitOpen);
    }
    assert_eq!((wired.opens(), wired.server.calls()), (opens, calls));
    assert_eq!(fallbacks(&manager), json!(0));
    manager.shutdown().await;
}

/// A pool that is full for a minute, and how `calls` calls beside it end when openings end like that.
async fn beside_a_full_pool(
    trouble: Trouble,
    calls: usize,
) -> (Wired, ConnectionManager, JoinSet<Outcome>, Vec<ErrorKind>) {
    let wired = Wired::new(TestServer::new());
    let breaker = CircuitBreakerSettings::new().recovery_timeout(Duration::from_secs(5));
    let settings = narrow()
        .connection_timeout(Duration::from_secs(120))
        .circuit_breaker(breaker.failure_threshold(2));
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let mut busy = JoinSet::new();
    begin_long(&mut busy, &tools, 2, 60_000).await;
    wired.open_with(trouble);
    let mut ends = Vec::new();
    for _ in 0..calls {
        let echo = CallToolRequestParams::new("echo")
            .with_arguments(json!({ "message": "m" }).as_object().cloned().unwrap());
        let options = CallOptions::new().timeout(Duration::from_secs(1));
        ends.push(
            tools
                .call_tool_with(echo, options)
                .await
                .unwrap_err()
                .kind(),
        );
    }
    (wired, manager, busy, ends)
}

fn state(manager: &ConnectionManager) -> serde_json::Value {
    status(manager)["circuit_breaker_state"].clone()
}

#[tokio::test(start_paused = true)]
async fn an_opening_beside_the_pool_that_fails_is_a_fault_for_probes_too() {
    for (trouble, kind) in [
        (
            Trouble::Fails(OpenErrorKind::Unreachable),
            ErrorKind::Connection,
        ),
        (Trouble::Fails(OpenErrorKind::Timeout), ErrorKind::Timeout),
        (Trouble::Hangs, ErrorKind::Timeout),
    ] {
        let (wired, manager, busy, ends) = beside_a_full_pool(trouble, 3).await;
        assert_eq!(ends, [kind, kind, ErrorKind::CircuitOpen]);
        assert_eq!((wired.opens(), state(&manager)), (3, json!("open")));

        // The session is let go when its call is done: there is still none for a probe.
        let tools = manager.tools("test").unwrap();
        let options = CallOptions::new().timeout(Duration::from_secs(1));
        let echo = || CallToolRequestParams::new("echo");
        let refused = tools.call_tool_with(echo(), options.clone()).await;
        sleep(refused.unwrap_err().retry_after().expect("it knows when")).await;
        let probe = tools.call_tool_with(echo(), options).await.unwrap_err();
        assert_eq!(probe.kind(), kind, "{probe}");
        assert_eq!((wired.opens(), state(&manager)), (4, json!("open")));
        drop(busy);
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_opening_beside_the_pool_that_fails_for_what_its_caller_has_said_is_no_fault() {
    for (trouble, kind) in [
        (OpenErrorKind::Unauthorized, ErrorKind::Authentication),
        (OpenErrorKind::Config, ErrorKind::Config),
    ] {
        let (wired, manager, busy, ends) = beside_a_full_pool(Trouble::Fails(trouble), 3).await;
        assert_eq!(ends, [kind, kind, kind]);
        assert_eq!((wired.opens(), state(&manager)), (4, json!("closed")));
        drop(busy);
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_beside_the_pool_is_answered_by_its_own_caller() {
    let wired = Wired::new(TestServer::new());
    for era in [Lifecycle::Initialize, Lifecycle::Discover] {
        let manager = wired.manager(narrow().lifecycle(era)).await;
        let tools = manager.tools("test").unwrap();
        let options = |name| {
            CallOptions::new().handler(Caller {
                name,
                thinks: Duration::from_secs(1),
            })
        };
        // Its session is open from here on: one is on it, one in line, and the third goes beside.
        ask(&tools, &["elicitation"], options("dave"))
            .await
            .unwrap();
        let asked = ["alice", "bob", "carol"].map(|name| {
            let (tools, options) = (tools.clone(), options(name));
            async move { (name, ask(&tools, &["elicitation"], options).await) }
        });
        let answers = asked.into_iter().collect::<JoinSet<_>>().join_all().await;
        assert_eq!(
            status_of_all(&manager),
            1,
            "{era}: one went beside the pool"
        );
        for (name, answer) in answers {
            assert_eq!(answer.unwrap(), json!({ "elicitation": name }), "{era}");
        }
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_scope_does_not_leave_its_session_for_another() {
    let (wired, manager, tools, calls) = busy(narrow().sharing(Sharing::Pinned)).await;
    let error = tools.call("count", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert_eq!((wired.opens(), fallbacks(&manager)), (1, json!(0)));
    all_answered(calls).await;
    manager.shutdown().await;
}

/// Calls beside the pools of the server, those for callers that answer it included.
fn status_of_all(manager: &ConnectionManager) -> u64 {
    let status = serde_json::to_value(manager.status()).unwrap();
    let pools = status["servers"][0]["pools"].as_array().unwrap();
    pools
        .iter()
        .filter_map(|pool| pool["fallbacks"].as_u64())
        .sum()
}
