//! Half-open: who may probe, what closes, what reopens, and that nothing can jam it.

use std::time::Duration;

use mcp_breaker::{Breaker, BreakerBuilder, Class, Permit, Rejected, State};
use tokio::time::{advance, timeout};

const MINUTE: Duration = Duration::from_secs(60);

fn builder() -> BreakerBuilder {
    Breaker::builder().failure_threshold(1).recovery_jitter(0.0)
}

/// Trips it and waits for the recovery time to pass.
async fn recovered(breaker: &Breaker) {
    breaker.try_acquire().unwrap().fault();
    assert_eq!(breaker.state(), State::Open);
    advance(breaker.retry_after().unwrap()).await;
}

fn probe(breaker: &Breaker) -> Permit {
    let permit = breaker.try_acquire().unwrap();
    assert!(permit.is_probe());
    permit
}

fn refused(breaker: &Breaker) -> Rejected {
    breaker.try_acquire().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn the_third_probe_is_refused_when_two_may_be_out() {
    let breaker = builder().half_open_max_calls(2).build().unwrap();
    recovered(&breaker).await;
    let _first = probe(&breaker);
    let second = probe(&breaker);
    assert_eq!(refused(&breaker).state, State::HalfOpen);
    assert_eq!(refused(&breaker).retry_after, None);
    assert_eq!(breaker.counts().probes_out, 2);
    second.success();
    let _third = probe(&breaker);
    assert_eq!(refused(&breaker).state, State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn it_closes_only_at_n_of_n() {
    for needed in 1..=5 {
        let breaker = builder().success_threshold(needed).build().unwrap();
        recovered(&breaker).await;
        for success in 1..=needed {
            probe(&breaker).success();
            let expected = if success == needed {
                State::Closed
            } else {
                State::HalfOpen
            };
            assert_eq!(breaker.state(), expected, "after {success} of {needed}");
        }
        assert!(!breaker.try_acquire().unwrap().is_probe());
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_failed_reopens_even_at_the_last_but_one_success() {
    let breaker = builder().success_threshold(3).build().unwrap();
    recovered(&breaker).await;
    probe(&breaker).success();
    probe(&breaker).success();
    probe(&breaker).fault();
    assert_eq!(breaker.state(), State::Open);

    // And what was proven before counts for nothing the next time.
    advance(breaker.retry_after().unwrap()).await;
    probe(&breaker).success();
    assert_eq!(breaker.counts().probe_successes, 1);
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn a_failure_reopens_with_a_longer_recovery() {
    let breaker = builder().build().unwrap();
    breaker.try_acquire().unwrap().fault();
    for seconds in [60, 120, 240, 480, 600, 600] {
        let left = Duration::from_secs(seconds);
        assert_eq!(breaker.retry_after(), Some(left));
        advance(left - Duration::from_millis(1)).await;
        assert_eq!(
            refused(&breaker).retry_after,
            Some(Duration::from_millis(1)),
            "not a moment too soon"
        );
        advance(Duration::from_millis(1)).await;
        probe(&breaker).fault();
    }
    assert_eq!(breaker.counts().times_opened, 7);
}

#[tokio::test(start_paused = true)]
async fn a_relapse_soon_after_closing_is_a_repeated_trip() {
    let breaker = builder().success_threshold(1).build().unwrap();
    recovered(&breaker).await;
    probe(&breaker).success();
    advance(MINUTE - Duration::from_millis(1)).await;
    breaker.try_acquire().unwrap().fault();
    assert_eq!(breaker.retry_after(), Some(2 * MINUTE));

    advance(2 * MINUTE).await;
    probe(&breaker).success();
    advance(2 * MINUTE).await;
    breaker.try_acquire().unwrap().fault();
    assert_eq!(
        breaker.retry_after(),
        Some(MINUTE),
        "closed for as long as it was open: forgiven"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_place_to_the_next() {
    let breaker = builder().half_open_max_calls(1).build().unwrap();
    recovered(&breaker).await;
    for _ in 0..100 {
        let never = breaker.call(std::future::pending::<Result<(), ()>>());
        assert!(timeout(Duration::from_millis(1), never).await.is_err());
        drop(probe(&breaker));
        probe(&breaker).ignore();
        probe(&breaker).record(Class::Ignored);
    }
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.counts().probes_out, 0);
    probe(&breaker).success();
    probe(&breaker).success();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_loses_its_place_and_its_late_result_moves_nothing() {
    for class in [Class::Success, Class::Fault, Class::Ignored] {
        let breaker = builder()
            .half_open_max_calls(1)
            .success_threshold(1)
            .build()
            .unwrap();
        recovered(&breaker).await;
        let hung = probe(&breaker);
        advance(Duration::from_millis(29_999)).await;
        refused(&breaker);
        advance(Duration::from_millis(1)).await;
        let next = probe(&breaker);
        assert_eq!(
            breaker.state(),
            State::HalfOpen,
            "released, and not counted as anything"
        );
        assert_eq!(breaker.counts().probes_released, 1);

        hung.record(class);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert_eq!(breaker.counts().late, 1);
        assert_eq!(
            breaker.counts().probes_out,
            1,
            "it gives back no place but its own"
        );
        refused(&breaker);
        next.success();
        assert_eq!(breaker.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_reopens_where_slowness_trips() {
    let breaker = builder()
        .slow_calls(Duration::from_secs(1), 0.5)
        .build()
        .unwrap();
    recovered(&breaker).await;
    let slow = probe(&breaker);
    advance(Duration::from_secs(1)).await;
    slow.success();
    assert_eq!(breaker.state(), State::Open);

    let breaker = builder().success_threshold(1).build().unwrap();
    recovered(&breaker).await;
    let slow = probe(&breaker);
    advance(Duration::from_secs(20)).await;
    slow.success();
    assert_eq!(
        breaker.state(),
        State::Closed,
        "and where it does not, it is a success"
    );
}

#[tokio::test(start_paused = true)]
async fn jitter_moves_the_recovery_by_a_tenth_at_most() {
    let mut seen = Vec::new();
    for _ in 0..500 {
        let breaker = Breaker::builder().failure_threshold(1).build().unwrap();
        breaker.try_acquire().unwrap().fault();
        seen.push(breaker.retry_after().unwrap().as_secs_f64());
    }
    assert!(
        seen.iter().all(|seconds| (54.0..=66.0).contains(seconds)),
        "{seen:?}"
    );
    assert!(
        seen.iter().any(|seconds| *seconds < 56.0) && seen.iter().any(|seconds| *seconds > 64.0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_may_take_longer_than_others_still_closes() {
    let breaker = builder()
        .probe_limit(MINUTE)
        .half_open_max_calls(1)
        .success_threshold(1)
        .build()
        .unwrap();
    recovered(&breaker).await;
    let slow = breaker.try_acquire_for(5 * MINUTE).unwrap();
    advance(4 * MINUTE).await;
    assert_eq!(
        refused(&breaker).state,
        State::HalfOpen,
        "its place is taken"
    );
    slow.success();
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_loses_its_place_after_the_longest_time_that_it_may_take() {
    let breaker = builder()
        .probe_limit(MINUTE)
        .half_open_max_calls(1)
        .build()
        .unwrap();
    recovered(&breaker).await;
    let hung = breaker.try_acquire_for(2 * MINUTE).unwrap();
    advance(2 * MINUTE).await;
    let _next = probe(&breaker);
    hung.fault();
    assert_eq!(
        breaker.state(),
        State::HalfOpen,
        "a late result moves nothing"
    );
    assert!(breaker.try_acquire_for(Duration::MAX).is_err());
}
