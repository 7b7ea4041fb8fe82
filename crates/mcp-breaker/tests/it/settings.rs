//! Validation of settings, and their JSON.

use std::time::Duration;

use mcp_breaker::{Breaker, BreakerEvent, State};
use serde_json::json;

#[test]
fn every_mistake_is_named_at_once() {
    let error = Breaker::builder()
        .failure_threshold(0)
        .failure_rate(0.0)
        .slow_calls(Duration::from_secs(1), 1.5)
        .window(Duration::ZERO)
        .minimum_calls(0)
        .recovery_timeout(Duration::MAX)
        .max_recovery_timeout(Duration::from_secs(1))
        .recovery_factor(0.5)
        .recovery_jitter(1.0)
        .half_open_max_calls(0)
        .success_threshold(0)
        .probe_limit(Duration::ZERO)
        .build()
        .unwrap_err();
    for name in [
        "failure_threshold",
        "failure_rate",
        "slow_call_rate",
        "window",
        "minimum_calls",
        "recovery_timeout",
        "max_recovery_timeout",
        "recovery_factor",
        "recovery_jitter",
        "half_open_max_calls",
        "success_threshold",
        "probe_limit",
    ] {
        assert!(
            error
                .problems()
                .iter()
                .any(|problem| problem.starts_with(name)),
            "{name}: {error}"
        );
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    for rate in [f64::NAN, f64::INFINITY, -1.0] {
        assert!(Breaker::builder().failure_rate(rate).build().is_err());
        assert!(Breaker::builder().recovery_factor(rate).build().is_err());
        assert!(Breaker::builder().recovery_jitter(rate).build().is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_and_the_shortest_times_work() {
    let year = Duration::from_secs(365 * 24 * 3600);
    let breaker = Breaker::builder()
        .failure_threshold(1)
        .recovery_timeout(year)
        .max_recovery_timeout(year)
        .recovery_factor(f64::MAX)
        .recovery_jitter(0.99)
        .window(year)
        .probe_limit(year)
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().fault();
    for _ in 0..3 {
        tokio::time::advance(breaker.retry_after().unwrap()).await;
        breaker.try_acquire().unwrap().fault();
        assert_eq!(breaker.state(), State::Open);
    }
    let nano = Duration::from_nanos(1);
    let breaker = Breaker::builder()
        .failure_threshold(1)
        .recovery_timeout(nano)
        .window(nano)
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().fault();
    tokio::time::advance(Duration::from_nanos(2)).await;
    assert!(breaker.try_acquire().unwrap().is_probe());
}

#[test]
fn counts_and_events_are_plain_json() {
    let breaker = Breaker::builder().recovery_jitter(0.0).build().unwrap();
    breaker.try_acquire().unwrap().success();
    breaker.try_acquire().unwrap().fault();
    let counts = serde_json::to_value(breaker.counts()).unwrap();
    assert_eq!(counts["calls"], 2);
    assert_eq!(counts["window"]["fault_rate"], 0.5);
    assert_eq!(
        serde_json::to_value(State::ForcedOpen).unwrap(),
        json!("forced_open")
    );
    assert_eq!(State::ForcedOpen.to_string(), "forced_open");

    let (sender, events) = std::sync::mpsc::channel();
    let breaker = Breaker::builder()
        .failure_threshold(2)
        .recovery_jitter(0.0)
        .observer(move |event: &BreakerEvent| {
            sender.send(serde_json::to_value(event).unwrap()).unwrap();
        })
        .build()
        .unwrap();
    (0..2).for_each(|_| breaker.try_acquire().unwrap().fault());
    breaker.force_open();
    let _ = breaker.try_acquire();
    assert_eq!(
        events.try_iter().collect::<Vec<_>>(),
        [
            json!({
                "event": "transition", "from": "closed", "to": "open", "retry_after": 60.0,
                "reason": { "kind": "consecutive_faults", "count": 2 },
            }),
            json!({
                "event": "transition", "from": "open", "to": "forced_open", "retry_after": null,
                "reason": { "kind": "manual" },
            }),
            json!({ "event": "rejected", "retry_after": null, "state": "forced_open" }),
        ]
    );
}

#[test]
fn ten_years_are_allowed_and_more_is_not() {
    let ten_years = Duration::from_secs(10 * 366 * 24 * 3600);
    let with = |time| Breaker::builder().probe_limit(time).build();
    assert!(with(ten_years).is_ok());
    assert!(with(ten_years + Duration::from_nanos(1)).is_err());
}
