//! Health and conditions, snapshot by snapshot.

use std::time::Duration;

use mcp_metrics::{
    AlertKind::{self, *},
    AlertRules, BreakerState, HealthRules,
    HealthStatus::{self, *},
    ServerSnapshot, Summary,
    alert::Severity,
};

/// A server that is well, with something changed.
fn server(change: impl FnOnce(&mut ServerSnapshot)) -> ServerSnapshot {
    let mut server = ServerSnapshot::new("time");
    server.total_connections = 1;
    server.capacity = 100;
    server.window.length = Duration::from_secs(60);
    change(&mut server);
    server
}

fn failing(faults: u64, judged: u64) -> impl FnOnce(&mut ServerSnapshot) {
    move |server| {
        server.window.faults = faults;
        server.window.judged = judged;
        server.window.error_rate = faults as f64 / judged as f64;
    }
}

fn busy(in_flight: u32, capacity: u32) -> impl FnOnce(&mut ServerSnapshot) {
    move |server| {
        server.in_flight = in_flight;
        server.capacity = capacity;
        server.utilization = f64::from(in_flight) / f64::from(capacity);
        server.waiters = 1;
    }
}

#[test]
fn the_table_of_health() {
    let table: [(ServerSnapshot, HealthStatus, usize); 19] = [
        (server(|_| {}), Healthy, 0),
        (server(failing(9, 100)), Healthy, 0),
        (server(failing(10, 100)), Warning, 1),
        (server(failing(19, 100)), Warning, 1),
        (server(failing(20, 100)), Critical, 1),
        // Of too few calls a rate says nothing.
        (server(failing(9, 9)), Healthy, 0),
        (server(failing(10, 10)), Critical, 1),
        (server(busy(90, 100)), Healthy, 0),
        (server(busy(91, 100)), Warning, 1),
        (server(busy(95, 100)), Critical, 1),
        (
            server(|s| s.circuit_breaker_state = BreakerState::HalfOpen),
            Warning,
            1,
        ),
        (
            server(|s| s.circuit_breaker_state = BreakerState::Open),
            Critical,
            1,
        ),
        (server(|s| s.last_probe_failed = true), Warning, 1),
        (server(|s| s.window.crashes = 4), Healthy, 0),
        (server(|s| s.window.crashes = 5), Critical, 1),
        // Openings that fail are no harm while a session lives.
        (server(|s| s.opens_failing = true), Healthy, 0),
        (
            server(|s| {
                s.opens_failing = true;
                s.total_connections = 3;
                s.connecting = 3;
            }),
            Critical,
            1,
        ),
        // No session was requested yet.
        (server(|s| s.total_connections = 0), Healthy, 0),
        (
            server(|s| {
                s.last_probe_failed = true;
                s.circuit_breaker_state = BreakerState::Open;
            }),
            Critical,
            2,
        ),
    ];
    for (server, status, reasons) in table {
        let health = HealthRules::default().judge(&server);
        assert_eq!(
            (health.status, health.reasons.len()),
            (status, reasons),
            "{server:?}: {health:?}"
        );
        assert!(
            health.reasons.is_sorted_by(|a, b| a.status >= b.status),
            "{health:?}"
        );
    }
}

#[test]
fn all_servers_are_as_well_as_the_worst_of_them() {
    let rules = HealthRules::default();
    let mut all = Summary::default();
    assert_eq!(rules.overall(&all), Healthy);
    all.pool_metrics.push(server(|_| {}));
    all.pool_metrics.push(server(busy(92, 100)));
    assert_eq!(rules.overall(&all), Warning);
    all.pool_metrics.insert(0, server(failing(50, 100)));
    assert_eq!(rules.overall(&all), Critical);
}

#[test]
fn the_table_of_conditions() {
    use Severity::{Critical, Warning};
    let p90 = |seconds: f64, judged: u64| {
        server(move |s| {
            s.window.call_seconds.p90 = Some(seconds);
            s.window.judged = judged;
        })
    };
    type Found = (AlertKind, Severity, f64);
    let table: [(ServerSnapshot, Option<Found>); 16] = [
        (server(|_| {}), None),
        (server(busy(90, 100)), None),
        (server(busy(91, 100)), Some((PoolExhaustion, Warning, 0.9))),
        (server(busy(19, 20)), Some((PoolExhaustion, Critical, 0.95))),
        (server(failing(10, 100)), None),
        (
            server(failing(11, 100)),
            Some((HighErrorRate, Warning, 0.1)),
        ),
        (
            server(failing(20, 100)),
            Some((HighErrorRate, Critical, 0.2)),
        ),
        (server(failing(9, 9)), None),
        (
            server(|s| s.circuit_breaker_state = BreakerState::Open),
            Some((CircuitBreakerOpen, Critical, 2.0)),
        ),
        (
            server(|s| s.circuit_breaker_state = BreakerState::HalfOpen),
            None,
        ),
        (
            server(|s| s.last_probe_failed = true),
            Some((HealthCheckFailure, Warning, 1.0)),
        ),
        (p90(30.0, 10), None),
        (p90(30.1, 10), Some((SlowResponses, Warning, 30.0))),
        (p90(30.1, 9), None),
        (server(|s| s.window.crashes = 4), None),
        (
            server(|s| s.window.crashes = 5),
            Some((CrashLoop, Critical, 5.0)),
        ),
    ];
    for (server, expected) in table {
        let found = AlertRules::default().conditions(&server);
        let found: Vec<_> = found
            .iter()
            .map(|c| (c.kind, c.severity, c.threshold))
            .collect();
        assert_eq!(found, Vec::from_iter(expected), "{server:?}");
    }
}

#[test]
fn one_busy_session_of_one_open_is_no_alert_while_there_may_be_ten() {
    let metrics = mcp_metrics::Metrics::new();
    let mut gauges = mcp_metrics::PoolGauges::default();
    gauges.active = 1;
    gauges.max_connections = 10;
    gauges.in_flight = 1;
    gauges.capacity = 10; // one call at a time on each
    metrics.server("browser").observe(gauges);
    let summary = metrics.summary();
    let server = &summary.pool_metrics[0];
    assert!(server.utilization <= 0.1, "{}", server.utilization);
    assert_eq!(AlertRules::default().conditions(server), []);
    assert_eq!(HealthRules::default().judge(server).status, Healthy);
}

#[test]
fn a_pool_without_capacity_is_not_full() {
    let metrics = mcp_metrics::Metrics::new();
    metrics
        .server("time")
        .observe(mcp_metrics::PoolGauges::default());
    assert_eq!(metrics.summary().pool_metrics[0].utilization, 0.0);
}

fn pool(in_flight: u32, capacity: u32, waiters: u32) -> mcp_metrics::PoolGauges {
    let mut gauges = mcp_metrics::PoolGauges::default();
    (gauges.in_flight, gauges.capacity, gauges.waiters) = (in_flight, capacity, waiters);
    gauges
}

fn alerts_of(pools: &[mcp_metrics::PoolGauges]) -> (Option<(Severity, String)>, HealthStatus) {
    let metrics = mcp_metrics::Metrics::new();
    let mut all = mcp_metrics::PoolGauges::default();
    for pool in pools {
        all.add(pool);
    }
    metrics.server("browser").observe(all);
    let summary = metrics.summary();
    let server = &summary.pool_metrics[0];
    let condition = AlertRules::default().conditions(server).pop();
    (
        condition.map(|condition| (condition.severity, condition.message)),
        HealthRules::default().judge(server).status,
    )
}

#[test]
fn a_pool_is_saturated_where_callers_wait_and_nowhere_else() {
    assert_eq!(
        alerts_of(&[pool(1, 1, 0)]),
        (None, Healthy),
        "there is no waiter"
    );
    assert_eq!(
        alerts_of(&[pool(0, 160, 113)]),
        (None, Healthy),
        "it is opening"
    );
    let full = |waiters: &str| {
        let message =
            format!("160 of 160 places are taken, {waiters} (max_connections, max_in_flight)");
        (Some((Severity::Critical, message)), Critical)
    };
    assert_eq!(alerts_of(&[pool(160, 160, 113)]), full("113 callers wait"));
    let idle = || pool(0, 160, 0);
    assert_eq!(
        alerts_of(&[idle(), pool(160, 160, 1), idle()]),
        full("1 caller waits"),
        "pools of other identities give it none of their places"
    );
    // A full pool without waiters is not the one in which callers wait.
    assert_eq!(
        alerts_of(&[pool(160, 160, 0), pool(3, 160, 2)]),
        (None, Healthy)
    );
}
