//! Health checks that probe, alerts that are raised once, and event streams.

use crate::common;
use crate::common::log;
use crate::common::wired;
use std::{sync::Arc, time::Duration};

use common::{LONG, manager as manager_of, process};
use log::Log;
use mcp_pooled_tools::{
    AlertEvent, AlertKind, AlertRules, ConnectionManager, ErrorKind, Event, EventStream,
    HealthStatus, PoolSettings, ServerConfig,
    config::{CircuitBreakerSettings, Lifecycle, Loader},
};
use mcp_testkit::{Lateness, TestServer};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use wired::Wired;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_health_check_is_seen_by_the_server() {
    let server = TestServer::new();
    let manager = common::in_process(
        &server,
        PoolSettings::new().lifecycle(Lifecycle::Initialize),
    )
    .await;
    let before = server.pings();
    for _ in 0..3 {
        let report = manager.check_health("test").await.unwrap();
        assert_eq!(report.health.status, HealthStatus::Healthy, "{report:?}");
        assert!(report.probe.unwrap().alive);
    }
    assert_eq!(server.pings() - before, 3);
    let json = serde_json::to_value(manager.check_health("test").await.unwrap()).unwrap();
    assert_eq!(json["status"], "healthy");
    assert_eq!(json["reasons"], json!([]));
    assert_eq!(json["probe"]["alive"], true);
    manager.shutdown().await;
}

#[tokio::test]
async fn pain_14_a_frozen_server_is_critical_within_the_deadline_and_its_session_is_retired() {
    for fault in ["--freeze-stdin", "--hang-after-handshake"] {
        let settings = PoolSettings::new().probe_timeout(SECOND / 2);
        let manager = manager_of(process(&[fault, "--era", "legacy"]), settings).await;
        let (machine, began) = (Lateness::watch(), Instant::now());
        let report = manager.check_health("test").await.unwrap();
        // Half a second for the probe; the rest is for starting the process.
        machine.assert_within(5 * SECOND, began.elapsed());
        assert_eq!(report.health.status, HealthStatus::Critical, "{report:?}");
        let probe = report.probe.unwrap();
        assert!(!probe.alive && probe.took >= SECOND / 2, "{probe:?}");
        assert!(
            report.health.reasons[0]
                .message
                .contains("did not answer a probe"),
            "{report:?}"
        );
        let retired = async {
            let open = || manager.pool_status("test").unwrap().pool.sessions;
            while open().iter().any(|session| session.id == probe.session) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, retired).await.expect("the session is closed");
        assert_eq!(
            manager.pool_status("test").unwrap().health_check_failures,
            1
        );
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_server_that_does_not_start_is_critical_with_the_cause() {
    let manager = manager_of(
        ServerConfig::stdio("no-such-command-anywhere"),
        PoolSettings::new(),
    )
    .await;
    let report = manager.check_health("test").await.unwrap();
    assert_eq!(report.health.status, HealthStatus::Critical);
    assert!(report.probe.is_none());
    let reasons = format!("{:?}", report.health.reasons);
    assert!(reasons.contains("no-such-command-anywhere"), "{reasons}");
    assert!(reasons.contains("no session is live"), "{reasons}");

    let unknown = manager.check_health("no such server").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Config);
    manager.shutdown().await;
    let late = manager.check_health("test").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::ShuttingDown);
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_places_are_all_taken_is_busy_and_not_ill() {
    let wired = Wired::new(TestServer::new());
    let settings = PoolSettings::new()
        .max_connections(1)
        .max_in_flight(1)
        .connection_timeout(3 * SECOND);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let call = tools.call("sleep", json!({ "ms": 30_000 }));
    let checking = async {
        sleep(SECOND).await;
        let began = Instant::now();
        let report = manager.check_health("test").await.unwrap();
        assert_eq!(report.health.status, HealthStatus::Warning, "{report:?}");
        assert!(report.probe.is_none());
        assert!(began.elapsed() <= 4 * SECOND, "{:?}", began.elapsed());
    };
    let (result, ()) = tokio::join!(call, checking);
    result.unwrap();
    manager.shutdown().await;
}

type Told = Arc<Mutex<Vec<(&'static str, AlertKind)>>>;

fn change(event: &AlertEvent) -> (&'static str, AlertKind) {
    let name = match event {
        AlertEvent::Raised(_) => "raised",
        AlertEvent::Escalated(_) => "escalated",
        AlertEvent::Resolved(_) => "resolved",
        _ => "other",
    };
    (name, event.alert().kind)
}

async fn watched(
    wired: &Wired,
    settings: PoolSettings,
    rules: AlertRules,
) -> (ConnectionManager, Told) {
    let reported = Told::default();
    let telling = Arc::clone(&reported);
    let settings = settings.over(PoolSettings::new().retry_attempts(0).min_connections(0));
    let manager = ConnectionManager::builder()
        .connector("test", wired.clone(), settings)
        .alert_rules(rules)
        .on_alert(move |event| telling.lock().push(change(event)))
        .build()
        .await
        .unwrap();
    (manager, reported)
}

/// The changes of alerts among the events that have come so far.
async fn alerts_among(events: &mut EventStream) -> Vec<(&'static str, AlertKind)> {
    let mut alerts = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_millis(1), events.next()).await {
        if let Event::Alert(event) = event {
            alerts.push(change(&event));
        }
    }
    alerts
}

#[tokio::test(start_paused = true)]
async fn pain_28_an_open_breaker_rings_once_and_is_resolved_once_by_callback_and_stream() {
    let log = Log::begin();
    let wired = Wired::new(TestServer::new());
    let settings = PoolSettings::new().circuit_breaker(
        CircuitBreakerSettings::new()
            .failure_threshold(2)
            .recovery_timeout(30 * SECOND),
    );
    let (manager, reported) = watched(&wired, settings, AlertRules::default()).await;
    let tools = manager.tools("test").unwrap();
    let mut events = manager.events();
    let echo = || tools.call("echo", json!({ "message": "m" }));
    echo().await.unwrap();
    wired.go_down();
    // Half an hour of an outage with a caller that keeps trying.
    for _ in 0..1_800 {
        echo().await.unwrap_err();
        sleep(SECOND).await;
    }
    let breaker: Vec<_> = reported
        .lock()
        .iter()
        .filter(|(_, kind)| *kind == AlertKind::CircuitBreakerOpen)
        .copied()
        .collect();
    assert_eq!(breaker, [("raised", AlertKind::CircuitBreakerOpen)]);
    let active: Vec<_> = manager
        .alerts()
        .into_iter()
        .filter(|alert| alert.is_active())
        .collect();
    assert!(
        active
            .iter()
            .any(|alert| alert.kind == AlertKind::CircuitBreakerOpen),
        "{active:?}"
    );

    wired.come_up();
    for _ in 0..900 {
        let _ = echo().await;
        sleep(SECOND).await;
    }
    echo().await.unwrap();
    let all = manager.alerts();
    assert!(all.iter().all(|alert| !alert.is_active()), "{all:?}");
    let reported = reported.lock().clone();
    // Each kind: raised once, resolved once.
    let mut kinds: Vec<_> = reported.iter().map(|(_, kind)| *kind).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let changes: Vec<_> = reported
            .iter()
            .filter(|(_, of)| *of == kind)
            .map(|(change, _)| *change)
            .collect();
        assert!(
            matches!(
                changes[..],
                ["raised", "resolved"] | ["raised", "escalated", "resolved"]
            ),
            "{kind}: {changes:?}"
        );
    }
    assert_eq!(alerts_among(&mut events).await, reported);
    let logged = log.with("kind=circuit_breaker_open");
    let levels: Vec<_> = logged.iter().map(|line| line.level).collect();
    assert_eq!(
        levels,
        [tracing::Level::ERROR, tracing::Level::INFO],
        "{logged:?}"
    );
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_busy_session_of_one_open_is_no_alert() {
    let wired = Wired::new(TestServer::new());
    let settings = PoolSettings::new().max_connections(10).max_in_flight(1);
    let (manager, reported) = watched(&wired, settings, AlertRules::default()).await;
    let tools = manager.tools("test").unwrap();
    let call = tools.call("sleep", json!({ "ms": 60_000 }));
    let looking = async {
        sleep(30 * SECOND).await;
        let server = manager.summary().pool_metrics[0].clone();
        assert_eq!((server.in_flight, server.total_connections), (1, 1));
        assert!(server.utilization <= 0.1, "{}", server.utilization);
    };
    let (result, ()) = tokio::join!(call, looking);
    result.unwrap();
    assert_eq!(*reported.lock(), []);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_and_slow_calls_and_a_server_that_crashes_each_have_their_alert() {
    let wired = Wired::new(TestServer::new());
    let settings = PoolSettings::new()
        .max_connections(2)
        .max_in_flight(1)
        .circuit_breaker(CircuitBreakerSettings::new().failure_threshold(1_000));
    let mut rules = AlertRules::default();
    rules.slow_after = 5 * SECOND;
    rules.minimum_calls = 2;
    rules.crashes = 3;
    let (manager, reported) = watched(&wired, settings, rules).await;
    let tools = manager.tools("test").unwrap();
    let slow = || tools.call("sleep", json!({ "ms": 12_000 }));
    // Two have the places, and one waits.
    let (one, two, three) = tokio::join!(slow(), slow(), slow());
    one.and(two).and(three).unwrap();
    sleep(6 * SECOND).await;
    for _ in 0..4 {
        tools.call("echo", json!({ "message": "m" })).await.unwrap();
        wired.cut();
        sleep(SECOND).await;
    }
    sleep(6 * SECOND).await;
    let reported = reported.lock().clone();
    for kind in [
        AlertKind::PoolExhaustion,
        AlertKind::SlowResponses,
        AlertKind::CrashLoop,
    ] {
        assert!(reported.contains(&("raised", kind)), "{kind}: {reported:?}");
    }
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_panics_when_told_of_an_alert_is_told_of_the_next() {
    let wired = Wired::new(TestServer::new());
    let reported = Told::default();
    let telling = Arc::clone(&reported);
    let manager = ConnectionManager::builder()
        .connector("test", wired.clone(), PoolSettings::new().retry_attempts(0))
        .on_alert(move |event| {
            telling.lock().push(change(event));
            panic!("as a test of it");
        })
        .build()
        .await
        .unwrap();
    let tools = manager.tools("test").unwrap();
    wired.go_down();
    for _ in 0..20 {
        let _ = tools.call("echo", json!({ "message": "m" })).await;
        sleep(SECOND).await;
    }
    wired.come_up();
    // The first success comes when openings are tried again and the breaker lets it through.
    while tools.call("echo", json!({ "message": "m" })).await.is_err() {
        sleep(SECOND).await;
    }
    for _ in 0..200 {
        let _ = tools.call("echo", json!({ "message": "m" })).await;
        sleep(SECOND).await;
    }
    let reported = reported.lock().clone();
    assert!(
        reported.iter().any(|(change, _)| *change == "raised"),
        "{reported:?}"
    );
    assert!(
        reported.iter().any(|(change, _)| *change == "resolved"),
        "{reported:?}"
    );
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_taken_out_of_the_configuration_takes_its_alerts_along_and_brings_its_numbers_back()
 {
    let with = |servers: &str| {
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(file.path(), format!(r#"{{"mcpServers": {{{servers}}}}}"#)).unwrap();
        Loader::new().file(file.path()).load().unwrap()
    };
    let missing =
        r#""missing": {"command": "no-such-command-anywhere", "pool": {"retry_attempts": 0}}"#;
    let manager = ConnectionManager::from_config(with(missing)).await.unwrap();
    let tools = manager.tools("missing").unwrap();
    let active = || {
        let alerts = manager.alerts().into_iter();
        alerts.filter(|alert| alert.is_active()).count()
    };
    // A real process that does not start takes real time, of which the clock of this test knows nothing.
    let mut calls = 0;
    while active() == 0 {
        tools.call("echo", json!({})).await.unwrap_err();
        sleep(SECOND).await;
        calls += 1;
        assert!(calls < 1_000, "no alert after {calls} failures");
    }
    let requests = || manager.summary().global_metrics.total_requests;
    assert_eq!(requests(), calls);

    manager.reload(with("")).unwrap();
    assert_eq!(manager.summary().global_metrics.total_pools, 0);
    sleep(6 * SECOND).await;
    assert_eq!(active(), 0);
    // A handle that is still there counts on, out of sight.
    tools.call("echo", json!({})).await.unwrap_err();
    manager.reload(with(missing)).unwrap();
    let now = manager.summary().global_metrics;
    assert_eq!((now.total_pools, now.total_requests), (1, calls + 1));
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn events_tell_of_a_sessions_life_in_order_and_end_with_the_manager() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(PoolSettings::new()).await;
    let mut events = manager.events();
    let tools = manager.tools("test").unwrap();
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
    manager.check_health("test").await.unwrap();
    manager.shutdown().await;
    let mut reported = Vec::new();
    while let Some(event) = events.next().await {
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["server"], "test", "{json}");
        reported.push(json["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        reported,
        [
            "session_opening",
            "session_opened",
            "session_probed",
            "session_closed"
        ]
    );
    assert!(manager.events().next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_monitor_ends_with_the_last_handle() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let mut events = manager.events();
    drop(manager);
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
    drop(tools);
    // The sender of events is dropped with the manager.
    let ended = async { while events.next().await.is_some() {} };
    timeout(60 * SECOND, ended)
        .await
        .expect("there is no sender left");
}
