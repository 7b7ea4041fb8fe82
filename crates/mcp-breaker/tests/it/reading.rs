//! Reading the state of a breaker changes nothing.

use std::time::Duration;

use mcp_breaker::{Breaker, BreakerEvent, State};
use tokio::time::advance;

/// Reads everything there is to read, a few times.
fn read(breaker: &Breaker) -> (State, Option<Duration>, mcp_breaker::Counts) {
    for _ in 0..10 {
        let _ = (
            breaker.state(),
            breaker.retry_after(),
            breaker.counts(),
            format!("{breaker:?}"),
        );
    }
    (breaker.state(), breaker.retry_after(), breaker.counts())
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_whose_time_is_over_stays_open_until_somebody_asks() {
    let breaker = Breaker::builder()
        .failure_threshold(1)
        .half_open_max_calls(1)
        .recovery_jitter(0.0)
        .observer(|event: &BreakerEvent| {
            assert!(
                matches!(event, BreakerEvent::Transition { .. }),
                "{event:?}"
            );
        })
        .build()
        .unwrap();
    assert_eq!(read(&breaker), read(&breaker));
    breaker.try_acquire().unwrap().fault();
    assert_eq!(read(&breaker).1, Some(Duration::from_secs(60)));
    advance(Duration::from_secs(45)).await;
    assert_eq!(read(&breaker).1, Some(Duration::from_secs(15)));
    advance(Duration::from_secs(4_000)).await;
    let (state, retry_after, counts) = read(&breaker);
    assert_eq!((state, retry_after), (State::Open, Some(Duration::ZERO)));
    assert_eq!(counts.rejected, 0);
    assert!(
        breaker.try_acquire().unwrap().is_probe(),
        "the one place is still there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_is_released_by_the_next_caller_and_not_by_a_look() {
    let breaker = Breaker::builder()
        .failure_threshold(1)
        .half_open_max_calls(1)
        .build()
        .unwrap();
    breaker.try_acquire().unwrap().fault();
    advance(breaker.retry_after().unwrap()).await;
    let _hung = breaker.try_acquire().unwrap();
    advance(Duration::from_secs(3_600)).await;
    let (state, retry_after, counts) = read(&breaker);
    assert_eq!((state, retry_after), (State::HalfOpen, None));
    assert_eq!((counts.probes_out, counts.probes_released), (1, 0));
    let _next = breaker.try_acquire().unwrap();
    assert_eq!(breaker.counts().probes_released, 1);
}

#[tokio::test(start_paused = true)]
async fn the_window_read_late_forgets_nothing_for_those_who_judge() {
    let breaker = Breaker::builder().failure_threshold(None).build().unwrap();
    (0..9).for_each(|_| breaker.try_acquire().unwrap().fault());
    advance(Duration::from_millis(56_999)).await;
    let window = read(&breaker).2.window.unwrap();
    assert_eq!(
        (window.calls, window.faults, window.fault_rate),
        (9, 9, Some(1.0))
    );
    breaker.try_acquire().unwrap().fault();
    assert_eq!(breaker.state(), State::Open);
    advance(Duration::from_secs(61)).await;
    assert_eq!(read(&breaker).2.window.unwrap().fault_rate, None);
}
