//! Rates and quantiles over a sliding window.

use crate::common;
use std::time::Duration;

use mcp_metrics::{CallOutcome, Judgement, Metrics, WindowSnapshot};
use tokio::time::{Instant, advance};

const SECOND: Duration = Duration::from_secs(1);

fn window(metrics: &Metrics) -> WindowSnapshot {
    metrics.summary().pool_metrics[0].window
}

#[tokio::test(start_paused = true)]
async fn the_window_slides_and_says_how_long_it_is() {
    let metrics = Metrics::builder().window(60 * SECOND).build();
    let server = metrics.server("time");
    for second in 0..120_u32 {
        // One call a second in the first minute, three in the second.
        for _ in 0..if second < 60 { 1 } else { 3 } {
            server.call("tools/call", None, CallOutcome::Ok, SECOND);
        }
        advance(SECOND).await;
        metrics.tick(Instant::now());
    }
    let recent = window(&metrics);
    assert_eq!(recent.length, 60 * SECOND);
    assert_eq!(recent.requests, 180);
    assert_eq!(recent.requests_per_second, 3.0);
    assert_eq!(recent.call_seconds.p50, Some(1.0));

    advance(60 * SECOND).await;
    let recent = window(&metrics);
    assert_eq!((recent.requests, recent.call_seconds.p50), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_window_that_nobody_moved_on_says_that_it_is_longer() {
    let metrics = Metrics::builder().window(60 * SECOND).build();
    metrics
        .server("time")
        .call("tools/call", None, CallOutcome::Ok, SECOND);
    advance(600 * SECOND).await;
    let recent = window(&metrics);
    assert_eq!((recent.length, recent.requests), (600 * SECOND, 1));
}

#[tokio::test(start_paused = true)]
async fn old_slowness_leaves_the_quantiles_with_the_window() {
    let metrics = Metrics::new();
    let server = metrics.server("time");
    for _ in 0..100 {
        server.call("tools/call", None, CallOutcome::Ok, 20 * SECOND);
    }
    assert_eq!(window(&metrics).call_seconds.p99, Some(20.0));
    for _ in 0..13 {
        advance(5 * SECOND).await;
        metrics.tick(Instant::now());
        server.call("tools/call", None, CallOutcome::Ok, SECOND / 10);
    }
    assert_eq!(window(&metrics).call_seconds.p99, Some(0.1));
}

#[tokio::test(start_paused = true)]
async fn what_the_breaker_refused_and_what_the_caller_did_is_no_part_of_the_error_rate() {
    let metrics = Metrics::new();
    let server = metrics.server("time");
    for outcome in CallOutcome::ALL {
        server.call("tools/call", None, outcome, SECOND / 1_000);
    }
    let recent = window(&metrics);
    // Answered: ok, tool_error, protocol. Faults: four. A full queue and credentials are not the server's.
    assert_eq!((recent.judged, recent.faults), (7, 4));
    assert_eq!(recent.error_rate, 4.0 / 7.0);
    assert_eq!(recent.refused, 1);
    assert_eq!(recent.requests, 15);
    // As seen by the callers, what was refused failed too.
    assert_eq!(metrics.summary().global_metrics.total_errors, 8);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_was_its_callers_own_is_no_error_of_the_server() {
    let metrics = Metrics::builder().tool_labels(1).build();
    let server = metrics.server("time");
    let tool = Some("now");
    for judgement in [Judgement::Nothing, Judgement::Fault, Judgement::Nothing] {
        server.call_judged("tools/call", tool, CallOutcome::Timeout, judgement, SECOND);
    }
    server.call("tools/call", tool, CallOutcome::Ok, SECOND);
    let now = &metrics.summary().pool_metrics[0];
    // It failed for its caller all the same.
    assert_eq!((now.requests, now.errors), (4, 3));
    assert_eq!((now.window.judged, now.window.faults), (2, 1));
    metrics.reset();
    assert_eq!(metrics.summary().pool_metrics[0].window.judged, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_puts_totals_and_window_back_to_nothing() {
    let metrics = Metrics::builder().tool_labels(2).build();
    let server = metrics.server("time");
    for tool in ["a", "b", "c"] {
        server.call("tools/call", Some(tool), CallOutcome::Timeout, SECOND);
        server.call("tools/list", None, CallOutcome::Ok, SECOND);
        server.closed("broken", true, SECOND);
        server.probed(false);
    }
    metrics.reset();
    server.call("tools/list", None, CallOutcome::Ok, SECOND);
    let now = &metrics.summary().pool_metrics[0];
    assert_eq!((now.requests, now.errors, now.window.requests), (1, 0, 1));
    assert_eq!((now.window.crashes, now.health_check_failures), (0, 0));
    assert!(!now.last_probe_failed);
}

#[tokio::test(start_paused = true)]
async fn json_has_the_keys_that_dashboards_read() {
    let metrics = Metrics::builder().tool_labels(1).build();
    let server = metrics.server("time");
    server.call("tools/call", Some("now"), CallOutcome::Ok, SECOND);
    server.call("tools/call", Some("then"), CallOutcome::Timeout, SECOND);
    server.acquired(false, SECOND);
    let json = serde_json::to_value(metrics.summary()).unwrap();
    let pool = json["pool_metrics"][0].as_object().unwrap();
    for key in common::DASHBOARD_KEYS {
        assert!(pool.contains_key(key), "{key}");
    }
    assert_eq!(pool["circuit_breaker_state"], "closed");
    assert_eq!(pool["pool_misses"], 1);
    assert_eq!(pool["calls"]["timeout"], 1);
    assert_eq!(pool["tools"]["now"]["requests"], 1);
    assert_eq!(pool["tools"]["_other"]["errors"], 1);
    assert_eq!(
        json["global_metrics"],
        serde_json::json!({ "total_pools": 1, "total_requests": 2, "total_errors": 1 })
    );
}
