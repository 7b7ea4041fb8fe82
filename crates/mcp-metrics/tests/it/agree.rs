//! One source, two readers: what JSON says and what an exporter says is the same.

use crate::common;
use std::{collections::BTreeMap, time::Duration};

use common::{Parsed, parse};
use mcp_metrics::{CallOutcome, Metrics, Prometheus, ServerMetrics, Summary};

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// As often short as long.
    fn duration(&mut self) -> Duration {
        let magnitude = self.below(11) as u32 + 1;
        Duration::from_nanos(self.below(10_u64.pow(magnitude)))
    }
}

fn something_happens(server: &ServerMetrics, dice: &mut Dice) {
    let took = dice.duration();
    let outcome = CallOutcome::ALL[dice.below(CallOutcome::ALL.len() as u64) as usize];
    let (method, tool) = [
        ("tools/call", Some("echo")),
        ("tools/call", Some("sleep")),
        ("tools/list", None),
        ("prompts/get", None),
    ][dice.below(4) as usize];
    server.call(method, tool, outcome, took);
    server.acquired(dice.below(5) > 0, took);
    match dice.below(8) {
        0 => server.opened(took),
        1 => server.closed("idle", false, took * 1_000),
        2 => server.closed("broken", true, took * 1_000),
        3 => server.connection_error("handshake"),
        4 => server.retried(),
        5 => server.fell_back(),
        6 => server.breaker_rejected(),
        _ => server.probed(dice.below(2) == 0),
    }
}

fn check(summary: &Summary, prometheus: &Parsed) {
    for server in &summary.pool_metrics {
        let name = server.server_name.as_str();
        let total = |metric: &str| prometheus.sum(metric, &[("server", name)]);
        let mut outcomes = BTreeMap::new();
        for (outcome, count) in &server.calls {
            let labels = [("server", name), ("outcome", outcome.as_str())];
            assert_eq!(
                prometheus.sum("mcp_calls_total", &labels),
                *count as f64,
                "{outcome}"
            );
            assert_eq!(
                prometheus.sum("mcp_call_duration_seconds_count", &labels),
                *count as f64
            );
            outcomes.insert(outcome, count);
        }
        for (metric, count) in [
            ("mcp_calls_total", server.requests),
            ("mcp_outcome_unknown_total", server.outcome_unknown),
            ("mcp_pool_hits_total", server.pool_hits),
            ("mcp_pool_misses_total", server.pool_misses),
            (
                "mcp_pool_acquire_seconds_count",
                server.pool_hits + server.pool_misses,
            ),
            (
                "mcp_pool_connections_opened_total",
                server.connections_opened,
            ),
            (
                "mcp_pool_connections_closed_total",
                server.connections_closed.values().sum(),
            ),
            ("mcp_pool_connection_errors_total", server.connection_errors),
            ("mcp_retries_total", server.retries),
            ("mcp_fallbacks_total", server.fallbacks),
            (
                "mcp_circuit_breaker_rejected_total",
                server.circuit_breaker_rejected,
            ),
        ] {
            assert_eq!(total(metric), count as f64, "{metric}");
        }
        let dead = [("server", name), ("outcome", "dead")];
        assert_eq!(
            prometheus.sum("mcp_health_checks_total", &dead),
            server.health_check_failures as f64
        );
    }
    assert_eq!(
        prometheus.sum("mcp_calls_total", &[]),
        summary.global_metrics.total_requests as f64
    );
}

#[test]
fn totals_agree_after_ten_thousand_mixed_calls() {
    for metrics in [Metrics::new(), Metrics::builder().tool_labels(1).build()] {
        let prometheus = Prometheus::new(metrics.clone());
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for call in 0..10_000 {
            let server = metrics.server(["time", "git", "fetch"][dice.below(3) as usize]);
            something_happens(&server, &mut dice);
            // An exporter receives differences: it must not matter how often.
            if call % 1_777 == 0 {
                check(&metrics.summary(), &parse(&prometheus.render()));
            }
        }
        check(&metrics.summary(), &parse(&prometheus.render()));
        assert_eq!(metrics.summary().global_metrics.total_requests, 10_000);
    }
}

#[test]
fn sums_and_bounds_of_histograms_are_exact() {
    let metrics = Metrics::new();
    let prometheus = Prometheus::new(metrics.clone());
    let server = metrics.server("time");
    let mut dice = Dice(42);
    let mut durations = Vec::new();
    for call in 0..3_000_u32 {
        let took = match call {
            // On the bounds themselves, too.
            0..9 => Duration::from_micros(10_u64.pow(call / 3) * [1, 10, 25][call as usize % 3]),
            _ => dice.duration(),
        };
        server.call("tools/call", None, CallOutcome::Ok, took);
        durations.push(took);
        if call % 500 == 0 {
            assert!(!prometheus.render().is_empty());
        }
    }
    let rendered = parse(&prometheus.render());
    let sum = rendered.sum("mcp_call_duration_seconds_sum", &[]);
    let truth: f64 = durations.iter().map(Duration::as_secs_f64).sum();
    // To the nanosecond that a mean is rounded to.
    assert!((sum - truth).abs() < 3_000e-9, "{sum} is not {truth}");
    for (labels, count) in rendered.all("mcp_call_duration_seconds_bucket") {
        let Ok(bound) = labels["le"].parse::<f64>() else {
            continue;
        };
        let shorter = durations.iter().filter(|took| took.as_secs_f64() <= bound);
        assert_eq!(count, shorter.count() as f64, "no longer than {bound} s");
    }
}

#[test]
fn nothing_is_lost_while_threads_record_and_readers_read() {
    const CALLS: u64 = 20_000;
    let metrics = Metrics::builder().tool_labels(2).build();
    let prometheus = Prometheus::new(metrics.clone());
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let server = metrics.server("time");
            scope.spawn(move || {
                let mut dice = Dice(thread + 1);
                for _ in 0..CALLS / 4 {
                    something_happens(&server, &mut dice);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                assert!(!prometheus.render().is_empty());
                assert_eq!(metrics.summary().pool_metrics.len(), 1);
            }
        });
    });
    check(&metrics.summary(), &parse(&prometheus.render()));
    assert_eq!(metrics.summary().global_metrics.total_requests, CALLS);
}
