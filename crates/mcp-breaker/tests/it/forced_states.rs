//! States set by hand.

use std::{sync::mpsc, time::Duration};

use mcp_breaker::{Breaker, BreakerEvent, State, TransitionReason};
use tokio::time::advance;

type Order = fn(&Breaker);

fn faults(breaker: &Breaker, calls: usize) {
    (0..calls).for_each(|_| breaker.try_acquire().unwrap().fault());
}

#[tokio::test(start_paused = true)]
async fn forced_open_refuses_for_ever_and_names_no_time() {
    let breaker = Breaker::default();
    breaker.force_open();
    for _ in 0..3 {
        let rejected = breaker.try_acquire().unwrap_err();
        assert_eq!(
            (rejected.state, rejected.retry_after),
            (State::ForcedOpen, None)
        );
        assert_eq!(breaker.retry_after(), None);
        advance(Duration::from_secs(1_000_000)).await;
    }
    assert_eq!(breaker.counts().rejected, 3);
    assert_eq!(
        breaker.counts().times_opened,
        0,
        "it did not open by itself"
    );
    breaker.reset();
    assert!(!breaker.try_acquire().unwrap().is_probe());
}

#[test]
fn forced_closed_passes_and_counts_but_never_trips() {
    let breaker = Breaker::default();
    faults(&breaker, 5);
    assert_eq!(breaker.state(), State::Open);
    breaker.force_closed();
    faults(&breaker, 100);
    assert_eq!(breaker.state(), State::ForcedClosed);
    assert_eq!(breaker.counts().faults, 105);
    assert_eq!(breaker.counts().window.unwrap().faults, 100);
    breaker.reset();
    faults(&breaker, 4);
    assert_eq!(
        breaker.state(),
        State::Closed,
        "what happened while forced is forgotten"
    );
    faults(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn disabled_passes_without_a_trace() {
    let breaker = Breaker::default();
    breaker.disable();
    let kept = breaker.try_acquire().unwrap();
    let before = breaker.counts();
    faults(&breaker, 100);
    assert_eq!(breaker.counts(), before);
    breaker.reset();
    kept.fault();
    assert_eq!(
        breaker.counts(),
        before,
        "a permit from then leaves no trace later either"
    );
}

#[test]
fn metrics_only_passes_judges_and_only_reports() {
    let (sender, events) = mpsc::channel();
    let breaker = Breaker::builder()
        .observer(move |event: &BreakerEvent| sender.send(event.clone()).unwrap())
        .build()
        .unwrap();
    breaker.metrics_only();
    faults(&breaker, 12);
    assert_eq!(breaker.state(), State::MetricsOnly);
    assert_eq!(breaker.counts().faults, 12);
    let would_open = events
        .try_iter()
        .filter(|event| {
            matches!(
                event,
                BreakerEvent::WouldOpen {
                    reason: TransitionReason::ConsecutiveFaults { count: 5 },
                    ..
                }
            )
        })
        .count();
    assert_eq!(would_open, 2, "at the fifth and the tenth fault");
    assert_eq!(breaker.counts().times_opened, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_forgets_window_row_and_growth_and_keeps_the_totals() {
    let breaker = Breaker::builder().recovery_jitter(0.0).build().unwrap();
    faults(&breaker, 5);
    advance(breaker.retry_after().unwrap()).await;
    faults(&breaker, 1);
    assert_eq!(breaker.retry_after(), Some(Duration::from_secs(120)));
    breaker.reset();
    assert_eq!(
        (breaker.state(), breaker.retry_after()),
        (State::Closed, None)
    );
    assert_eq!(breaker.counts().window.unwrap().calls, 0);
    assert_eq!(
        (breaker.counts().faults, breaker.counts().times_opened),
        (6, 2)
    );
    faults(&breaker, 4);
    breaker.reset();
    faults(&breaker, 4);
    assert_eq!(
        breaker.state(),
        State::Closed,
        "a reset while closed forgets too"
    );
    faults(&breaker, 1);
    assert_eq!(breaker.retry_after(), Some(Duration::from_secs(60)));
}

#[test]
fn orders_follow_each_other_in_any_order() {
    let orders: [(Order, State); 5] = [
        (Breaker::reset, State::Closed),
        (Breaker::force_open, State::ForcedOpen),
        (Breaker::force_closed, State::ForcedClosed),
        (Breaker::disable, State::Disabled),
        (Breaker::metrics_only, State::MetricsOnly),
    ];
    let breaker = Breaker::default();
    for (first, _) in orders {
        for (second, expected) in orders {
            first(&breaker);
            second(&breaker);
            assert_eq!(breaker.state(), expected);
            assert_eq!(breaker.try_acquire().is_ok(), expected.passes_all());
        }
    }
}
