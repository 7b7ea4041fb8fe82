//! Metrics: each one moves with its cause, and both readers agree.

use crate::common;
use crate::common::wired;
use crate::prometheus;
use std::time::Duration;

use common::process;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, ErrorKind, Metrics, PoolSettings, PooledTools, ServerConfig,
    config::{CircuitBreakerSettings, Fallback, Replay, Validate},
    metrics::{Publisher, catalog},
};
use mcp_testkit::{Faults, TestServer};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use wired::{Wired, status};

/// What a manager's metrics say to a recorder.
struct Recorder {
    publisher: Publisher<DebuggingRecorder>,
    snapshotter: Snapshotter,
}

impl Recorder {
    fn of(manager: &ConnectionManager) -> Self {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        Self {
            publisher: Publisher::new(manager.metrics().clone(), recorder),
            snapshotter,
        }
    }

    /// The value of a metric with these labels: of a histogram, the number of new values.
    fn now(&mut self, manager: &ConnectionManager, name: &str, labels: &[(&str, &str)]) -> f64 {
        // Also asks the pools for what is not counted.
        assert_eq!(manager.summary().pool_metrics.len(), 1);
        self.publisher.publish();
        let all = self.snapshotter.snapshot().into_vec();
        let wanted = all.into_iter().filter(|(key, ..)| {
            key.key().name() == name
                && labels.iter().all(|(label, value)| {
                    key.key()
                        .labels()
                        .any(|it| it.key() == *label && it.value() == *value)
                })
        });
        wanted
            .map(|(_, _, _, value)| match value {
                DebugValue::Counter(total) => total as f64,
                DebugValue::Gauge(value) => value.0,
                DebugValue::Histogram(values) => values.len() as f64,
            })
            .sum()
    }
}

async fn echo(tools: &PooledTools) -> Result<(), ErrorKind> {
    let result = tools.call("echo", json!({ "message": "m" })).await;
    result.map(drop).map_err(|error| error.kind())
}

fn calls(manager: &ConnectionManager, outcome: &str) -> u64 {
    let summary = serde_json::to_value(manager.summary()).unwrap();
    summary["pool_metrics"][0]["calls"][outcome]
        .as_u64()
        .unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn every_metric_of_sessions_and_breaker_moves_when_its_cause_happens() {
    let wired = Wired::new(TestServer::new());
    let settings = PoolSettings::new()
        .max_connections(3)
        .max_in_flight(1)
        .replay(Replay::Safe)
        .circuit_breaker(CircuitBreakerSettings::new().failure_threshold(2));
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let mut recorder = Recorder::of(&manager);
    let mut now = |name: &str, labels: &[(&str, &str)]| recorder.now(&manager, name, labels);

    assert_eq!(now("mcp_pool_max_connections", &[]), 3.0);
    assert_eq!(now("mcp_circuit_breaker_state", &[]), 0.0);
    echo(&tools).await.unwrap();
    assert_eq!(now("mcp_pool_misses_total", &[]), 1.0);
    assert_eq!(now("mcp_pool_connections", &[("state", "idle")]), 1.0);
    echo(&tools).await.unwrap();
    assert_eq!(now("mcp_pool_hits_total", &[]), 1.0);
    assert_eq!(now("mcp_pool_connections_opened_total", &[]), 1.0);

    // Five slow callers at three places: two wait.
    let mut busy = JoinSet::new();
    for _ in 0..5 {
        let tools = tools.clone();
        busy.spawn(async move { tools.call("sleep", json!({ "ms": 1_000 })).await.unwrap() });
    }
    sleep(Duration::from_millis(500)).await;
    assert_eq!(now("mcp_pool_connections", &[("state", "active")]), 3.0);
    assert_eq!(now("mcp_pool_in_flight", &[]), 3.0);
    assert_eq!(now("mcp_pool_waiters", &[]), 2.0);
    let waited = now("mcp_pool_longest_wait_seconds", &[]);
    assert!((0.4..=0.6).contains(&waited), "{waited}");
    busy.join_all().await;
    assert_eq!(now("mcp_pool_waiters", &[]), 0.0);

    assert!(
        manager
            .check_health("test")
            .await
            .unwrap()
            .probe
            .unwrap()
            .alive
    );
    assert_eq!(now("mcp_health_checks_total", &[("outcome", "alive")]), 1.0);
    assert_eq!(now("mcp_health_checks_total", &[("outcome", "dead")]), 0.0);

    wired.go_down();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        now("mcp_pool_connections_closed_total", &[("reason", "broken")]),
        3.0
    );
    while echo(&tools).await != Err(ErrorKind::CircuitOpen) {
        sleep(Duration::from_secs(1)).await;
    }
    assert!(now("mcp_pool_connection_errors_total", &[("phase", "open")]) >= 1.0);
    assert_eq!(now("mcp_circuit_breaker_state", &[]), 2.0);
    assert_eq!(
        now("mcp_circuit_breaker_transitions_total", &[("to", "open")]),
        1.0
    );
    assert_eq!(now("mcp_circuit_breaker_rejected_total", &[]), 1.0);
    assert_eq!(now("mcp_calls_total", &[("outcome", "circuit_open")]), 1.0);

    // The monitor has looked by now.
    sleep(Duration::from_secs(6)).await;
    assert!(now("mcp_alerts", &[("severity", "critical")]) >= 1.0);
    wired.come_up();
    sleep(Duration::from_secs(70)).await;
    echo(&tools).await.unwrap();
    assert_eq!(now("mcp_circuit_breaker_state", &[]), 1.0);
    assert_eq!(
        now(
            "mcp_circuit_breaker_transitions_total",
            &[("to", "half_open")]
        ),
        1.0
    );
    manager.shutdown().await;
    assert!(
        now(
            "mcp_pool_connections_closed_total",
            &[("reason", "shutdown")]
        ) >= 1.0
    );
}

#[tokio::test(start_paused = true)]
async fn every_histogram_has_a_value_for_every_event() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    for _ in 0..10 {
        echo(&tools).await.unwrap();
    }
    manager.shutdown().await;
    for (name, count) in [
        ("mcp_pool_acquire_seconds", 10.0),
        ("mcp_pool_open_seconds", 1.0),
        ("mcp_session_age_seconds", 1.0),
        ("mcp_call_duration_seconds", 10.0),
    ] {
        let mut recorder = Recorder::of(&manager);
        assert_eq!(recorder.now(&manager, name, &[]), count, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_has_one_outcome_however_it_ends() {
    let wired = Wired::new(TestServer::new());
    let settings = PoolSettings::new()
        .max_connections(1)
        .max_in_flight(1)
        .max_waiters(1)
        .validate(Validate::Arguments)
        .fallback(Fallback::Error);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();

    // The list that arguments are checked against is requested by the pool, not by a caller.
    tools.list_all_tools().await.unwrap();
    assert_eq!(calls(&manager, "ok"), 1);
    echo(&tools).await.unwrap();
    assert_eq!(calls(&manager, "ok"), 2);
    tools
        .call("tool_error", json!({ "message": "no" }))
        .await
        .unwrap();
    assert_eq!(calls(&manager, "tool_error"), 1);
    tools.call("no_such_tool", json!({})).await.unwrap_err();
    assert_eq!(calls(&manager, "protocol"), 1);
    tools.list_tools(None).await.unwrap();
    assert_eq!(calls(&manager, "ok"), 3);

    let wrong = tools.call("echo", json!({ "message": 12 })).await;
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Validation);
    assert_eq!(calls(&manager, "validation"), 1);

    let sleeper = || {
        CallToolRequestParams::new("sleep")
            .with_arguments(json!({ "ms": 10_000 }).as_object().cloned().unwrap())
    };
    let second = Duration::from_secs(1);
    let options = CallOptions::new().timeout(second);
    tools.call_tool_with(sleeper(), options).await.unwrap_err();
    assert_eq!(calls(&manager, "timeout"), 1);
    let token = CancellationToken::new();
    let options = CallOptions::new().cancellation(token.clone());
    let (outcome, ()) = tokio::join!(tools.call_tool_with(sleeper(), options), async {
        sleep(second).await;
        token.cancel();
    });
    outcome.unwrap_err();
    assert_eq!(calls(&manager, "cancelled"), 1);
    // A caller that just goes away.
    timeout(second, tools.call_tool(sleeper()))
        .await
        .unwrap_err();
    assert_eq!(calls(&manager, "cancelled"), 2);

    // Long enough for the calls that were given up, and not as long as until the next health check.
    sleep(30 * second).await;
    // They cost their session: this call opens another, whose list is fetched before the next two calls need its place.
    echo(&tools).await.unwrap();
    tools.list_all_tools().await.unwrap();
    let mut busy = JoinSet::new();
    for _ in 0..2 {
        let tools = tools.clone();
        busy.spawn(async move { tools.call("sleep", json!({ "ms": 1_000 })).await.unwrap() });
    }
    sleep(second / 10).await;
    assert_eq!(echo(&tools).await, Err(ErrorKind::Exhausted));
    assert_eq!(calls(&manager, "exhausted"), 1);
    busy.join_all().await;

    // Sessions of one caller, and such as are in no pool.
    let session = tools.session().await.unwrap();
    common::echo(&session, "m").await;
    drop(session);
    let direct = manager.direct_tools("test").unwrap();
    common::echo(&direct, "m").await;
    assert_eq!(calls(&manager, "ok"), 8);
    wired.go_down();
    direct
        .call("echo", json!({ "message": "m" }))
        .await
        .unwrap_err();
    assert_eq!(calls(&manager, "connection"), 1);

    let summary = manager.summary();
    assert_eq!(summary.global_metrics.total_requests, 16);
    // What the callers did themselves, and what the server answered, are no errors.
    assert_eq!(summary.global_metrics.total_errors, 3);
    manager.shutdown().await;
    assert_eq!(echo(&tools).await, Err(ErrorKind::ShuttingDown));
}

#[tokio::test(start_paused = true)]
async fn retries_fallbacks_and_unknown_outcomes_are_counted() {
    let wired = Wired::new(TestServer::with_faults(Faults {
        exit_mid_call: Some("count".into()),
        ..Faults::default()
    }));
    let settings = PoolSettings::new()
        .max_connections(1)
        .max_in_flight(1)
        .max_waiters(1);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let error = tools.call("count", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert_eq!(manager.summary().pool_metrics[0].outcome_unknown, 1);
    // Of a list it is known that it may be asked for again.
    let lists = async {
        let mut lists = JoinSet::new();
        for _ in 0..3 {
            let tools = tools.clone();
            lists.spawn(async move { tools.call("sleep", json!({ "ms": 1_000 })).await });
            sleep(Duration::from_millis(10)).await;
        }
        lists.join_all().await
    };
    lists.await;
    let snapshot = &manager.summary().pool_metrics[0];
    assert_eq!(snapshot.fallbacks, 1);

    let options = CallOptions::new().replay(Replay::Always);
    let again = tools.call_tool_with(CallToolRequestParams::new("count"), options);
    again.await.unwrap_err();
    assert_eq!(manager.summary().pool_metrics[0].retries, 1);
    let rendered = prometheus::parse(&manager.prometheus());
    for metric in ["mcp_retries_total", "mcp_fallbacks_total"] {
        assert_eq!(rendered.sum(metric, &[]), 1.0, "{metric}");
    }
    assert_eq!(rendered.sum("mcp_outcome_unknown_total", &[]), 2.0);
    manager.shutdown().await;
}

#[tokio::test]
async fn both_readers_say_the_same_of_real_servers_and_the_status_does_too() {
    let manager = ConnectionManager::builder()
        .server("one", process(&[]))
        .server("two", process(&["--era", "legacy"]))
        .server("none", ServerConfig::stdio("no-such-command-anywhere"))
        .metrics(Metrics::builder().tool_labels(10).build())
        .defaults(PoolSettings::new().retry_attempts(0))
        .build()
        .await
        .unwrap();
    for (server, count) in [("one", 20), ("two", 30)] {
        let tools = manager.tools(server).unwrap();
        for _ in 0..count {
            echo(&tools).await.unwrap();
        }
    }
    let none = manager.tools("none").unwrap();
    assert_eq!(echo(&none).await, Err(ErrorKind::Connection));

    let rendered = prometheus::parse(&manager.prometheus());
    let summary = manager.summary();
    assert_eq!(summary.global_metrics.total_pools, 3);
    assert_eq!(summary.global_metrics.total_requests, 51);
    assert_eq!(summary.global_metrics.total_errors, 1);
    for server in &summary.pool_metrics {
        let name = [("server", server.server_name.as_str())];
        let of = |metric: &str| rendered.sum(metric, &name) as u64;
        let status = manager.pool_status(&server.server_name).unwrap();
        assert_eq!(of("mcp_calls_total"), server.requests);
        assert_eq!(
            (of("mcp_pool_hits_total"), server.pool_hits),
            (status.pool_hits, status.pool_hits)
        );
        assert_eq!(
            (of("mcp_pool_misses_total"), server.pool_misses),
            (status.pool_misses, status.pool_misses)
        );
        assert_eq!(of("mcp_pool_connections_opened_total"), status.opened);
        assert_eq!(server.connection_errors, status.connection_errors);
        assert_eq!(server.available_connections, status.available_connections);
        let json = serde_json::to_value(&status).unwrap();
        for key in prometheus::DASHBOARD_KEYS {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
    let echoes = [("server", "two"), ("tool", "echo"), ("outcome", "ok")];
    assert_eq!(rendered.sum("mcp_calls_total", &echoes), 30.0);
    // What has labels of its own is there once it has happened.
    for metric in catalog::ALL
        .iter()
        .filter(|metric| metric.labels.len() == 1)
    {
        assert!(rendered.types.contains_key(metric.name), "{}", metric.name);
    }
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_lasts_from_the_asking_and_a_wait_is_part_of_it() {
    let wired = Wired::new(TestServer::new());
    let settings = PoolSettings::new().max_connections(1).max_in_flight(1);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let began = Instant::now();
    let mut line = JoinSet::new();
    for _ in 0..3 {
        let tools = tools.clone();
        line.spawn(async move { tools.call("sleep", json!({ "ms": 1_000 })).await.unwrap() });
    }
    line.join_all().await;
    assert!(began.elapsed() >= Duration::from_secs(3));
    let seconds = manager.summary().pool_metrics[0].window.call_seconds;
    for (quantile, expected) in [(seconds.p50, 2.0), (seconds.p99, 3.0)] {
        let found = quantile.unwrap();
        assert!(
            (expected..expected * 1.05).contains(&found),
            "{found} for {expected}"
        );
    }
    // For an open session there is no wait.
    assert_eq!(status(&manager)["pool_hits"], 0);
    manager.shutdown().await;
}
