//! Recovery of a breaker: few probes, on fresh sessions, and no stampede.

use crate::common;
use crate::common::wired;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use common::whoami;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, Error, ErrorKind, PoolSettings, PooledTools,
    config::{CircuitBreakerSettings, Replay},
};
use mcp_testkit::{Faults, Hang, TestServer};
use rmcp::model::{CallToolRequestParams, CallToolResult};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use wired::{Wired, status};

/// Calls let through at a time before it closes: the default.
const PROBES: u64 = 3;

fn breaker() -> CircuitBreakerSettings {
    CircuitBreakerSettings::new()
        .failure_threshold(3)
        .recovery_timeout(Duration::from_secs(10))
}

fn settings() -> PoolSettings {
    PoolSettings::new()
        .replay(Replay::Never)
        .circuit_breaker(breaker())
}

fn once(name: &'static str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name)
        .with_arguments(arguments.as_object().cloned().expect("an object"))
}

async fn echo(tools: &PooledTools) -> Result<CallToolResult, Error> {
    tools.call("echo", json!({ "message": "m" })).await
}

async fn session(tools: &PooledTools) -> u64 {
    whoami(&tools.call("whoami", json!({})).await.unwrap())["session"]
        .as_u64()
        .expect("a number")
}

fn state(manager: &ConnectionManager) -> String {
    status(manager)["circuit_breaker_state"]
        .as_str()
        .expect("a state")
        .to_owned()
}

/// Callers who wait for less time than an opening may take never hear how it ends.
#[tokio::test(start_paused = true)]
async fn probes_that_run_out_of_time_in_the_handshake_open_it_again() {
    let wired = Wired::new(TestServer::with_faults(Faults {
        hang: Some(Hang::BeforeHandshake),
        ..Faults::default()
    }));
    let settings = settings().circuit_breaker(breaker().failure_threshold(1));
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let options = CallOptions::new().timeout(Duration::from_secs(1));
    let call = || tools.call_tool_with(once("echo", json!({ "message": "m" })), options.clone());

    assert_eq!(call().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(state(&manager), "closed", "the opening has yet to end");
    // It goes on for four times the `connection_timeout`.
    sleep(Duration::from_secs(4 * 30)).await;
    let mut last = Duration::ZERO;
    for _ in 0..4 {
        let refused = call().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CircuitOpen, "{refused}");
        let retry_after = refused.retry_after().expect("it knows when");
        assert!(
            retry_after > last.mul_f64(1.5),
            "{retry_after:?} after {last:?}"
        );
        last = retry_after;
        sleep(retry_after).await;
        let probe = call().await.unwrap_err();
        assert_eq!(probe.kind(), ErrorKind::Timeout, "{probe}");
        assert_eq!(state(&manager), "open");
    }
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_down_for_a_minute_and_back() {
    down_for_a_minute_and_back(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_down_for_a_minute_and_back_with_a_minimum_to_keep() {
    down_for_a_minute_and_back(2).await;
}

async fn down_for_a_minute_and_back(min_connections: u32) {
    let wired = Wired::new(TestServer::new());
    let manager = wired
        .manager(settings().min_connections(min_connections))
        .await;
    let tools = manager.tools("test").unwrap();
    echo(&tools).await.unwrap();

    wired.go_down();
    let (down, opened_before) = (Instant::now(), wired.opens());
    let mut refused = 0;
    while down.elapsed() < Duration::from_secs(60) {
        let asked = Instant::now();
        let open = state(&manager) == "open";
        let error = echo(&tools).await.unwrap_err();
        if error.kind() == ErrorKind::CircuitOpen {
            refused += 1;
            assert_eq!(asked.elapsed(), Duration::ZERO, "it answers at once");
            assert!(error.retry_after().is_some(), "{error}");
            assert!(open);
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(refused > 400, "{refused} of some 600");
    let tries = wired.opens() - opened_before;
    // One or two that opened it, and a probe each after ten and thirty seconds.
    assert!((3..=4).contains(&tries), "{tries} openings in a minute");

    let refused = loop {
        let error = echo(&tools).await.unwrap_err();
        if error.kind() == ErrorKind::CircuitOpen {
            break error;
        }
    };
    assert!(refused_in_real_time(&tools).await < Duration::from_millis(5));
    let not_before = Instant::now() + refused.retry_after().expect("it knows when");

    wired.come_up();
    let (back, opened_before) = (Instant::now(), wired.opens());
    let answered = Arc::new(AtomicU64::new(0));
    let mut herd: JoinSet<_> = (0..100)
        .map(|_| {
            let (tools, answered) = (tools.clone(), Arc::clone(&answered));
            async move {
                while tools.call("sleep", json!({ "ms": 50 })).await.is_err() {
                    sleep(Duration::from_millis(200)).await;
                }
                answered.fetch_add(1, Relaxed);
                Instant::now()
            }
        })
        .collect();
    sleep_until(not_before).await;
    // Watched from the side of the server for as long as it is not closed.
    let (mut most, mut opens) = (0, 0);
    while state(&manager) != "closed" {
        most = most.max(wired.server.calls_of("sleep") - answered.load(Relaxed));
        opens = wired.opens() - opened_before;
        assert!(back.elapsed() < Duration::from_secs(300), "traffic resumes");
        sleep(Duration::from_millis(5)).await;
    }
    assert!((1..=PROBES).contains(&most), "{most} probes at a time");
    assert!((1..=PROBES).contains(&opens), "{opens} openings");
    let mut first = Instant::now();
    while let Some(answered) = herd.join_next().await {
        first = first.min(answered.unwrap());
    }
    assert!(
        first >= not_before,
        "not sooner than the callers' errors said"
    );
    assert_eq!(state(&manager), "closed");
    manager.shutdown().await;
}

/// The best of a few, for what else runs on the machine.
async fn refused_in_real_time(tools: &PooledTools) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let asked = std::time::Instant::now();
        let error = echo(tools).await.unwrap_err();
        best = best.min(asked.elapsed());
        assert_eq!(error.kind(), ErrorKind::CircuitOpen, "{error}");
    }
    best
}

/// The server answers, but too late: its sessions live on, and are not trusted for probes.
#[tokio::test(start_paused = true)]
async fn pain_15_the_first_probes_meet_fresh_sessions_and_two_successes_close_it() {
    the_first_probes_meet_fresh_sessions(0).await;
}

#[tokio::test(start_paused = true)]
async fn pain_15_the_first_probes_meet_fresh_sessions_with_a_minimum_to_keep() {
    the_first_probes_meet_fresh_sessions(2).await;
}

async fn the_first_probes_meet_fresh_sessions(min_connections: u32) {
    let wired = Wired::new(TestServer::new());
    let manager = wired
        .manager(
            settings()
                .call_timeout(Duration::from_millis(50))
                .max_in_flight(4)
                .scale_up_at(1)
                .max_connections(4)
                .min_connections(min_connections),
        )
        .await;
    let tools = manager.tools("test").unwrap();
    // More than one session from before.
    let held = [
        tools.session().await.unwrap(),
        tools.session().await.unwrap(),
    ];
    let mut old = HashSet::new();
    for session in &held {
        let seen = whoami(&session.call("whoami", json!({})).await.unwrap());
        old.insert(seen["session"].as_u64().expect("a number"));
    }
    assert_eq!(old.len(), 2);
    drop(held);

    let options = CallOptions::new().timeout(Duration::from_millis(50));
    let late: JoinSet<_> = (0..3)
        .map(|_| {
            let (tools, options) = (tools.clone(), options.clone());
            let slow = once("sleep", json!({ "ms": 60_000 }));
            async move { tools.call_tool_with(slow, options).await }
        })
        .collect();
    for outcome in late.join_all().await {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert_eq!(state(&manager), "open");
    let error = echo(&tools).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CircuitOpen);
    let before = wired.opens();
    sleep(error.retry_after().unwrap() - Duration::from_millis(1)).await;
    assert_eq!(wired.opens(), before, "the server is left in peace");
    assert_eq!(status(&manager)["total_connections"], json!(0));
    sleep(Duration::from_millis(1)).await;

    let first = session(&tools).await;
    assert!(
        first > before,
        "session {first} is not of the {before} before"
    );
    assert_eq!(state(&manager), "half_open", "one success is not enough");
    let second = session(&tools).await;
    assert!(second > before);
    assert_eq!(wired.opens(), before + 1, "the probes alone need sessions");
    assert_eq!(state(&manager), "closed");
    sleep(Duration::from_millis(10)).await;
    let kept = u64::from(min_connections).max(1);
    assert_eq!(status(&manager)["total_connections"], json!(kept));
    manager.shutdown().await;
}

/// Openings that fail back off. While they do, callers get the remembered cause: of a probe that would say
/// that the server is as it was.
#[tokio::test(start_paused = true)]
async fn the_first_probe_asks_the_server_and_not_the_memory_of_the_last_opening() {
    let wired = Wired::new(TestServer::new());
    let breaker = breaker()
        .failure_threshold(1)
        .success_threshold(1)
        .recovery_timeout(Duration::from_millis(50));
    let manager = wired.manager(settings().circuit_breaker(breaker)).await;
    let tools = manager.tools("test").unwrap();
    wired.go_down();
    assert_eq!(
        echo(&tools).await.unwrap_err().kind(),
        ErrorKind::Connection
    );
    let refused = echo(&tools).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::CircuitOpen, "{refused}");
    sleep(refused.retry_after().expect("it knows when")).await;
    let pause = manager.pool_status("test").unwrap().pool.retry_after;
    assert!(pause.is_some(), "openings back off for longer");

    wired.come_up();
    echo(&tools).await.unwrap();
    assert_eq!((wired.opens(), state(&manager).as_str()), (2, "closed"));
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_than_allowed_and_one_fault_opens_it_again() {
    let wired = Wired::new(TestServer::new());
    let limited = settings().call_timeout(Duration::from_millis(50));
    let manager = wired.manager(limited).await;
    let tools = manager.tools("test").unwrap();
    let options = CallOptions::new().timeout(Duration::from_millis(50));
    let slow = || once("sleep", json!({ "ms": 60_000 }));
    for _ in 0..3 {
        let late = tools.call_tool_with(slow(), options.clone()).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Timeout);
    }
    let before = wired.server.calls_of("sleep");
    sleep(echo(&tools).await.unwrap_err().retry_after().unwrap()).await;
    let probes: JoinSet<_> = (0..20)
        .map(|_| {
            let (tools, options) = (tools.clone(), options.clone());
            async move {
                tools
                    .call_tool_with(slow(), options)
                    .await
                    .unwrap_err()
                    .kind()
            }
        })
        .collect();
    let kinds = probes.join_all().await;
    let of = |kind| kinds.iter().filter(|one| **one == kind).count();
    assert_eq!(
        (of(ErrorKind::Timeout), of(ErrorKind::CircuitOpen)),
        (3, 17)
    );
    assert_eq!(wired.server.calls_of("sleep"), before + 3);
    assert_eq!(state(&manager), "open");
    manager.shutdown().await;
}

/// A server whose calls take longer than the half minute that a breaker gives its probes by default.
#[tokio::test(start_paused = true)]
async fn probes_may_take_as_long_as_calls_may() {
    let wired = Wired::new(TestServer::new());
    let breaker = breaker().failure_threshold(1).half_open_max_calls(2);
    let manager = wired.manager(settings().circuit_breaker(breaker)).await;
    let tools = manager.tools("test").unwrap();
    wired.go_down();
    echo(&tools).await.unwrap_err();
    wired.come_up();
    sleep(echo(&tools).await.unwrap_err().retry_after().unwrap()).await;
    let slow = || tools.call("sleep", json!({ "ms": 40_000 }));
    let third = async {
        sleep(Duration::from_secs(35)).await;
        echo(&tools).await.unwrap_err().kind()
    };
    let (first, second, third) = tokio::join!(slow(), slow(), third);
    first.and(second).unwrap();
    assert_eq!(third, ErrorKind::CircuitOpen, "both places are taken");
    assert_eq!(state(&manager), "closed");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_retired_session_whose_owner_keeps_the_only_place_is_no_fault_of_the_server() {
    let wired = Wired::new(TestServer::new());
    let breaker = breaker().failure_threshold(1);
    let settings = settings()
        .max_connections(1)
        .connection_timeout(Duration::from_millis(500))
        .call_timeout(Duration::from_secs(1))
        .circuit_breaker(breaker);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let held = tools.session().await.unwrap();
    let slow = held.call("sleep", json!({ "ms": 60_000 })).await;
    assert_eq!(slow.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(state(&manager), "open");
    sleep(Duration::from_secs(12)).await;
    for _ in 0..5 {
        let error = echo(&tools).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert_eq!(state(&manager), "half_open");
    }
    drop(held);
    sleep(Duration::from_secs(1)).await;
    for _ in 0..2 {
        echo(&tools).await.unwrap();
    }
    assert_eq!(state(&manager), "closed");
    manager.shutdown().await;
}

/// Each takes longer than the connection and call timeouts together, as its own limit allows.
#[tokio::test(start_paused = true)]
async fn calls_that_may_take_longer_than_others_close_it() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings()).await;
    let tools = manager.tools("test").unwrap();
    wired.go_down();
    let retry_after = loop {
        let error = echo(&tools).await.unwrap_err();
        if error.kind() == ErrorKind::CircuitOpen {
            break error.retry_after().expect("it knows when");
        }
        sleep(Duration::from_millis(100)).await;
    };
    wired.come_up();
    sleep(retry_after).await;
    let slow = |tools: PooledTools| async move {
        let options = CallOptions::new().timeout(Duration::from_secs(600));
        let sleep = once("sleep", json!({ "ms": 200_000 }));
        tools.call_tool_with(sleep, options).await
    };
    let mut slow: JoinSet<_> = (0..2).map(|_| slow(tools.clone())).collect();
    sleep(Duration::from_secs(190)).await;
    assert_eq!(state(&manager), "half_open");
    // A caller would now take the place of an overdue probe.
    echo(&tools).await.unwrap();
    while let Some(ended) = slow.join_next().await {
        ended.unwrap().unwrap();
    }
    assert_eq!(state(&manager), "closed");
    manager.shutdown().await;
}
