//! A result from before the trip, or before a reset, never moves the state.

use mcp_breaker::{Breaker, Class, State};
use tokio::time::advance;

fn breaker() -> Breaker {
    Breaker::builder()
        .failure_threshold(1)
        .success_threshold(1)
        .recovery_jitter(0.0)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_success_from_before_the_trip_closes_nothing() {
    let breaker = breaker();
    let while_open = breaker.try_acquire().unwrap();
    let while_half_open = breaker.try_acquire().unwrap();
    breaker.try_acquire().unwrap().fault();

    while_open.success();
    assert_eq!(breaker.state(), State::Open);
    advance(breaker.retry_after().unwrap()).await;
    let _probe = breaker.try_acquire().unwrap();
    while_half_open.success();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.counts().probe_successes, 0);
    assert_eq!(breaker.counts().probes_out, 1);
    assert_eq!(
        (breaker.counts().successes, breaker.counts().late),
        (2, 2),
        "but it is counted"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fault_from_before_the_trip_reopens_nothing() {
    let breaker = breaker();
    let (early, earlier) = (
        breaker.try_acquire().unwrap(),
        breaker.try_acquire().unwrap(),
    );
    breaker.try_acquire().unwrap().fault();
    advance(breaker.retry_after().unwrap()).await;
    let probe = breaker.try_acquire().unwrap();
    early.fault();
    assert_eq!(breaker.state(), State::HalfOpen);
    probe.success();
    earlier.fault();
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.counts().consecutive_faults, 0);
    assert_eq!(breaker.counts().times_opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_the_last_half_open_period_moves_nothing_in_this_one() {
    for class in [Class::Success, Class::Fault, Class::Ignored] {
        let breaker = breaker();
        breaker.try_acquire().unwrap().fault();
        advance(breaker.retry_after().unwrap()).await;
        let stale = breaker.try_acquire().unwrap();
        breaker.try_acquire().unwrap().fault();
        advance(breaker.retry_after().unwrap()).await;
        let _probe = breaker.try_acquire().unwrap();
        stale.record(class);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert_eq!(breaker.counts().probes_out, 1);
    }
}

#[test]
fn a_hundred_faults_under_way_open_it_once() {
    let breaker = breaker();
    let permits: Vec<_> = (0..100).map(|_| breaker.try_acquire().unwrap()).collect();
    permits.into_iter().for_each(mcp_breaker::Permit::fault);
    assert_eq!(breaker.counts().times_opened, 1);
    assert_eq!((breaker.counts().faults, breaker.counts().late), (100, 99));
}

#[test]
fn a_result_from_before_a_reset_or_an_order_moves_nothing_after_it() {
    let orders: [fn(&Breaker); 5] = [
        Breaker::reset,
        Breaker::force_open,
        Breaker::force_closed,
        Breaker::disable,
        Breaker::metrics_only,
    ];
    for order in orders {
        let breaker = breaker();
        let stale = breaker.try_acquire().unwrap();
        order(&breaker);
        stale.fault();
        breaker.reset();
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(breaker.counts().times_opened, 0);
        assert_eq!(breaker.counts().consecutive_faults, 0);
        assert_eq!(breaker.counts().late, 1);
    }
}
