//! Which lines are logged at which level, and what is in none.

use crate::common;
use crate::common::spans;
use crate::common::wired;
use std::time::Duration;

use common::{manager, process};
use mcp_pooled_tools::{
    ErrorKind, Lifecycle, PoolSettings,
    config::{CircuitBreakerSettings, Secret},
};
use mcp_testkit::TestServer;
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use spans::Spans;
use tokio::time::sleep;
use tracing::Level;
use wired::Wired;

fn settings() -> PoolSettings {
    PoolSettings::new().circuit_breaker(CircuitBreakerSettings::new().failure_threshold(1_000))
}

fn params(name: &'static str, arguments: serde_json::Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name).with_arguments(arguments.as_object().cloned().unwrap())
}

#[tokio::test]
async fn a_hundred_calls_that_succeed_log_nothing_above_debug() {
    let log = Spans::begin();
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings()).await;
    let tools = manager.tools("test").unwrap();
    let echo = || tools.call("echo", json!({ "message": "m" }));
    log.kept.forget();
    echo().await.unwrap();
    let opened = log.kept.lines();
    assert_eq!(opened.len(), 1, "{opened:#?}");
    assert_eq!(opened[0].message(), "session opened");

    log.kept.forget();
    for _ in 0..100 {
        echo().await.unwrap();
    }
    assert_eq!(log.kept.spans("mcp.call").len(), 100);
    let lines = log.kept.lines();
    let loud: Vec<_> = lines
        .iter()
        .filter(|line| line.level < Level::DEBUG)
        .collect();
    assert!(loud.is_empty(), "{loud:#?}");
    for name in ["mcp.call", "mcp.acquire"] {
        for span in log.kept.spans(name) {
            assert_eq!(span.level, Level::DEBUG);
        }
    }
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn changes_of_state_are_logged_at_info_and_faults_at_warn() {
    let log = Spans::begin();
    let wired = Wired::new(TestServer::new());
    let recovery = Duration::from_secs(10);
    let breaker = CircuitBreakerSettings::new()
        .failure_threshold(1)
        .success_threshold(1)
        .recovery_timeout(recovery);
    let limit = Duration::from_millis(50);
    let settings = settings().call_timeout(limit).circuit_breaker(breaker);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let echo = || tools.call("echo", json!({ "message": "m" }));
    let reported = |message: &str| {
        let lines = log.kept.lines_of(message);
        assert!(!lines.is_empty(), "{message}: {:#?}", log.kept.lines());
        for line in &lines {
            assert_eq!(line.fields["server"], "test", "{line:?}");
        }
        (lines.len(), lines[0].level)
    };
    echo().await.unwrap();
    assert_eq!(reported("session opened"), (1, Level::INFO));
    let slow = params("sleep", json!({ "ms": 60_000 }));
    tools.call_tool(slow).await.unwrap_err();
    assert_eq!(reported("circuit breaker"), (1, Level::INFO));
    wired.go_down();
    sleep(recovery * 2).await;
    assert_eq!(echo().await.unwrap_err().kind(), ErrorKind::Connection);
    assert_eq!(reported("opening a session failed"), (1, Level::WARN));
    wired.come_up();
    sleep(recovery * 4).await;
    echo().await.unwrap();
    let states: Vec<_> = log
        .kept
        .lines_of("circuit breaker")
        .iter()
        .map(|line| (line.level, line.fields["to"].clone()))
        .collect();
    let expected = ["open", "half_open", "open", "half_open", "closed"];
    assert_eq!(states, expected.map(|to| (Level::INFO, to.to_owned())));

    wired.cut();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(reported("session broke").1, Level::WARN);
    manager.shutdown().await;
    assert_eq!(reported("session closed").1, Level::INFO);
    // Only an alert may say more than that.
    let mut lines = log.kept.lines();
    lines.retain(|line| line.level < Level::WARN);
    let kinds = lines.iter().map(|line| &*line.fields["kind"]);
    assert_eq!(kinds.collect::<Vec<_>>(), ["circuit_breaker_open"]);
    let resolved = log.kept.lines_of("alert resolved");
    assert!(resolved.iter().all(|line| line.level == Level::INFO));
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_retired_for_their_silence_are_warned_of() {
    let log = Spans::begin();
    let wired = Wired::deaf_to("\"ping\"", TestServer::new());
    let settings = settings()
        .lifecycle(Lifecycle::Initialize)
        .health_check_interval(Duration::from_secs(30))
        .probe_timeout(Duration::from_secs(1))
        .max_idle_time(Duration::from_secs(600));
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let lines = log.kept.lines_of("health check timed out, closing session");
    assert_eq!(lines.len(), 1, "{:#?}", log.kept.lines());
    assert_eq!(lines[0].level, Level::WARN);
    assert_eq!(lines[0].fields["server"], "test");
    manager.shutdown().await;
}

#[tokio::test]
async fn no_secret_and_no_argument_is_in_a_span_or_a_line() {
    let log = Spans::begin();
    let server = process(&["--max-lifetime", "61"]).env("TOKEN", Secret::new("hunter2-in-env"));
    let manager = manager(server, settings()).await;
    let tools = manager.tools("test").unwrap();
    let arguments = json!({ "message": "hunter2-in-arguments" });
    tools.call("echo", arguments.clone()).await.unwrap();
    tools.call("tool_error", arguments).await.unwrap();
    let refused = json!({ "code": -32602, "message": "hunter2-in-arguments" });
    tools.call("fail", refused).await.unwrap_err();
    manager.shutdown().await;
    let text = log.kept.text();
    assert_eq!(log.kept.spans("mcp.call").len(), 3);
    assert!(text.contains("session opened"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!text.contains("--max-lifetime"), "{text}");
}
