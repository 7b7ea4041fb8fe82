//! What opens a breaker, and what does not.

use std::time::Duration;

use mcp_breaker::{Breaker, State};
use tokio::time::advance;

fn fault(breaker: &Breaker) {
    if let Ok(permit) = breaker.try_acquire() {
        permit.fault();
    }
}

fn success(breaker: &Breaker) {
    breaker.try_acquire().unwrap().success();
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_ten_thousand_faults_in_a_millisecond_trips() {
    let by_rate = Breaker::builder().failure_threshold(None).build().unwrap();
    let by_row = Breaker::builder().failure_rate(None).build().unwrap();
    for breaker in [&by_rate, &by_row, &Breaker::default()] {
        // After an hour of health, and all of them under way at once.
        for _ in 0..60 {
            success(breaker);
            advance(Duration::from_secs(60)).await;
        }
        let permits: Vec<_> = (0..10_000)
            .map(|_| breaker.try_acquire().unwrap())
            .collect();
        for permit in permits {
            permit.fault();
            advance(Duration::from_nanos(100)).await;
        }
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.counts().times_opened, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn dead_from_the_start_at_ten_calls_a_second_trips_at_the_minimum_number_of_calls() {
    let breaker = Breaker::builder().failure_threshold(None).build().unwrap();
    for call in 1..=10 {
        assert_eq!(breaker.state(), State::Closed, "before call {call}");
        fault(&breaker);
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn five_faults_in_a_row_trip_and_four_do_not() {
    let breaker = Breaker::builder().failure_rate(None).build().unwrap();
    for _ in 0..100 {
        (0..4).for_each(|_| fault(&breaker));
        success(&breaker);
    }
    (0..4).for_each(|_| fault(&breaker));
    breaker.try_acquire().unwrap().ignore();
    assert_eq!(breaker.state(), State::Closed);
    fault(&breaker);
    assert_eq!(
        breaker.state(),
        State::Open,
        "an ignored result does not break the row"
    );
}

#[tokio::test(start_paused = true)]
async fn half_of_the_calls_failing_trips_though_never_two_in_a_row() {
    let breaker = Breaker::default();
    for _ in 0..4 {
        success(&breaker);
        fault(&breaker);
    }
    success(&breaker);
    assert_eq!(breaker.state(), State::Closed);
    fault(&breaker);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn faults_that_have_left_the_window_count_no_more() {
    let breaker = Breaker::builder().failure_threshold(None).build().unwrap();
    (0..9).for_each(|_| fault(&breaker));
    advance(Duration::from_secs(60)).await;
    (0..9).for_each(|_| fault(&breaker));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.counts().window.unwrap().calls, 9);
    fault(&breaker);
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_trip_though_every_one_succeeds() {
    let second = Duration::from_secs(1);
    let breaker = Breaker::builder().slow_calls(second, 0.5).build().unwrap();
    for call in 0..9 {
        let permit = breaker.try_acquire().unwrap();
        advance(second).await;
        permit.success();
        assert_eq!(breaker.state(), State::Closed, "{call}");
    }
    let quick = breaker.try_acquire().unwrap();
    advance(second - Duration::from_millis(1)).await;
    quick.success();
    assert_eq!(
        breaker.state(),
        State::Closed,
        "90 % slow, but this one was not"
    );
    let permit = breaker.try_acquire().unwrap();
    advance(second).await;
    permit.success();
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.counts().slow, 10);
    assert_eq!(breaker.counts().faults, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_that_is_ignored_is_not_slow() {
    let breaker = Breaker::builder()
        .slow_calls(Duration::from_secs(1), 0.1)
        .minimum_calls(1)
        .build()
        .unwrap();
    let permit = breaker.try_acquire().unwrap();
    advance(Duration::from_secs(10)).await;
    permit.ignore();
    assert_eq!(breaker.counts().slow, 0);
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn without_any_limit_nothing_trips() {
    let breaker = Breaker::builder()
        .failure_threshold(None)
        .failure_rate(None)
        .build()
        .unwrap();
    (0..1_000).for_each(|_| fault(&breaker));
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.counts().window, None);
}

#[tokio::test(start_paused = true)]
async fn a_call_out_of_time_is_a_consecutive_fault_and_no_part_of_the_rates() {
    let breaker = Breaker::builder().failure_threshold(2).build().unwrap();
    breaker.try_acquire().unwrap().timed_out();
    let counts = breaker.counts();
    assert_eq!((counts.faults, counts.consecutive_faults), (1, 1));
    assert_eq!(counts.window.unwrap().calls, 0);
    assert_eq!(breaker.state(), State::Closed);
    breaker.try_acquire().unwrap().timed_out();
    assert_eq!(breaker.state(), State::Open);

    // A probe out of time reopens.
    advance(breaker.retry_after().unwrap()).await;
    let probe = breaker.try_acquire().unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    probe.timed_out();
    assert_eq!(breaker.state(), State::Open);

    // A disabled breaker records none.
    breaker.disable();
    breaker.try_acquire().unwrap().timed_out();
    assert_eq!(breaker.counts().faults, 3);
}
