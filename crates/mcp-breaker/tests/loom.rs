//! Every interleaving of threads at the breaker's locks.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p mcp-breaker --release --test loom
//! ```
//!
//! failsafe's own lock is not loom's and need not be, because it is only taken with the state machine's lock held. Time is real here,
//! so the models use recovery times that are over at once, or not before the day is.

#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::{sync::Arc, time::Duration};

use loom::{model, sync::Mutex, thread};
use mcp_breaker::{Breaker, BreakerBuilder, BreakerEvent, Class, Permit, State};

fn builder(recovery: Duration) -> BreakerBuilder {
    Breaker::builder()
        .failure_threshold(1)
        .failure_rate(None)
        .success_threshold(2)
        .recovery_jitter(0.0)
        .recovery_timeout(recovery)
        .max_recovery_timeout(recovery)
}

const AT_ONCE: Duration = Duration::from_nanos(1);
const NOT_TODAY: Duration = Duration::from_secs(24 * 3600);

/// A breaker that has tripped, and whose next caller is a probe.
fn tripped(builder: BreakerBuilder) -> Breaker {
    let breaker = builder.build().unwrap();
    breaker.try_acquire().unwrap().fault();
    breaker
}

fn spawn<T: 'static>(
    breaker: &Breaker,
    work: impl FnOnce(Breaker) -> T + 'static,
) -> thread::JoinHandle<T> {
    let breaker = breaker.clone();
    thread::spawn(move || work(breaker))
}

fn probe(breaker: &Breaker) -> Option<Permit> {
    breaker
        .try_acquire()
        .ok()
        .inspect(|permit| assert!(permit.is_probe()))
}

#[test]
fn never_more_probes_than_allowed_and_none_lost() {
    model(|| {
        let breaker = tripped(builder(AT_ONCE).half_open_max_calls(2));
        let first = spawn(&breaker, |breaker| probe(&breaker));
        let second = spawn(&breaker, |breaker| probe(&breaker));
        let third = probe(&breaker);
        let out: Vec<_> = [first.join().unwrap(), second.join().unwrap(), third]
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(out.len(), 2);
        assert_eq!(breaker.counts().probes_out, 2);
        assert_eq!(breaker.counts().rejected, 1);
        drop(out);
        assert_eq!(breaker.counts().probes_out, 0);
        assert!(probe(&breaker).is_some());
    });
}

#[test]
fn a_place_given_back_is_neither_lost_nor_doubled() {
    model(|| {
        let breaker = tripped(builder(AT_ONCE).half_open_max_calls(1));
        let held = probe(&breaker).unwrap();
        let gives_back = thread::spawn(move || drop(held));
        let asks = spawn(&breaker, |breaker| probe(&breaker));
        let mine = probe(&breaker);
        let theirs = asks.join().unwrap();
        gives_back.join().unwrap();
        let out = usize::from(mine.is_some()) + usize::from(theirs.is_some());
        assert!(out <= 1);
        assert_eq!(breaker.counts().probes_out as usize, out);
        drop((mine, theirs));
        assert!(probe(&breaker).is_some());
    });
}

#[test]
fn it_closes_at_two_of_two_and_not_before() {
    model(|| {
        let breaker = tripped(builder(AT_ONCE));
        let (first, second) = (probe(&breaker).unwrap(), probe(&breaker).unwrap());
        let other = spawn(&breaker, move |breaker| {
            first.success();
            breaker.state()
        });
        second.success();
        let seen = other.join().unwrap();
        assert!(matches!(seen, State::HalfOpen | State::Closed));
        assert_eq!(breaker.state(), State::Closed);
    });
}

#[test]
fn one_success_and_one_probe_that_says_nothing_do_not_close_it() {
    model(|| {
        let breaker = tripped(builder(AT_ONCE));
        let (good, silent) = (probe(&breaker).unwrap(), probe(&breaker).unwrap());
        let other = thread::spawn(move || drop(silent));
        good.success();
        other.join().unwrap();
        assert_eq!(breaker.state(), State::HalfOpen);
        let counts = breaker.counts();
        assert_eq!((counts.probe_successes, counts.probes_out), (1, 0));
    });
}

#[test]
fn a_stale_success_counts_for_no_probe() {
    model(|| {
        let breaker = builder(AT_ONCE).build().unwrap();
        let stale = breaker.try_acquire().unwrap();
        breaker.try_acquire().unwrap().fault();
        let late = thread::spawn(move || stale.success());
        probe(&breaker).unwrap().success();
        late.join().unwrap();
        assert_eq!(breaker.state(), State::HalfOpen);
        assert_eq!(breaker.counts().probe_successes, 1);
        assert_eq!(breaker.counts().late, 1);
    });
}

#[test]
fn a_stale_fault_reopens_nothing_however_it_meets_the_closing() {
    model(|| {
        let breaker = builder(AT_ONCE).success_threshold(1).build().unwrap();
        let stale = breaker.try_acquire().unwrap();
        breaker.try_acquire().unwrap().fault();
        let late = thread::spawn(move || stale.fault());
        probe(&breaker).unwrap().success();
        late.join().unwrap();
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(breaker.counts().consecutive_faults, 0);
        assert_eq!(breaker.counts().times_opened, 1);
    });
}

#[test]
fn two_faults_at_once_open_it_once_and_are_told_once() {
    model(|| {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let breaker = builder(NOT_TODAY)
            .observer(watch(&reported))
            .build()
            .unwrap();
        let (first, second) = (
            breaker.try_acquire().unwrap(),
            breaker.try_acquire().unwrap(),
        );
        let other = thread::spawn(move || first.fault());
        second.fault();
        other.join().unwrap();
        assert_eq!(breaker.state(), State::Open);
        let counts = breaker.counts();
        assert_eq!((counts.times_opened, counts.faults, counts.late), (1, 2, 1));
        assert_eq!(*reported.lock().unwrap(), [(State::Closed, State::Open)]);
    });
}

#[test]
fn a_caller_that_meets_the_trip_is_refused_or_moves_nothing() {
    for class in [Class::Success, Class::Fault, Class::Ignored] {
        model(move || {
            let breaker = builder(NOT_TODAY).build().unwrap();
            let trips = breaker.try_acquire().unwrap();
            let meets = spawn(&breaker, move |breaker| match breaker.try_acquire() {
                Ok(permit) => permit.record(class),
                Err(rejected) => assert_eq!(rejected.state, State::Open),
            });
            trips.fault();
            meets.join().unwrap();
            assert_eq!(breaker.state(), State::Open);
            assert_eq!(breaker.counts().times_opened, 1);
        });
    }
}

#[test]
fn a_reset_has_the_last_word_over_results_from_before_it() {
    model(|| {
        let breaker = tripped(builder(AT_ONCE));
        let stale = probe(&breaker).unwrap();
        let late = thread::spawn(move || stale.fault());
        breaker.reset();
        late.join().unwrap();
        assert_eq!(breaker.state(), State::Closed);
        assert!(!breaker.try_acquire().unwrap().is_probe());
    });
}

#[test]
fn a_success_from_before_a_reset_is_not_in_the_window_after_it() {
    model(|| {
        let breaker = builder(NOT_TODAY).failure_rate(0.5).build().unwrap();
        let stale = breaker.try_acquire().unwrap();
        let late = thread::spawn(move || stale.success());
        breaker.reset();
        late.join().unwrap();
        assert_eq!(breaker.counts().window.unwrap().calls, 0);
        assert_eq!(breaker.counts().successes, 1);
    });
}

#[test]
fn a_fault_is_judged_as_one_whatever_success_comes_between() {
    model(|| {
        let breaker = builder(NOT_TODAY).build().unwrap();
        let (good, bad) = (
            breaker.try_acquire().unwrap(),
            breaker.try_acquire().unwrap(),
        );
        let other = thread::spawn(move || good.success());
        bad.fault();
        other.join().unwrap();
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.counts().successes, 1);
    });
}

#[test]
fn transitions_of_two_threads_are_told_once_each_and_in_order() {
    model(|| {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let breaker = builder(NOT_TODAY)
            .observer(watch(&reported))
            .build()
            .unwrap();
        let other = spawn(&breaker, |breaker| breaker.force_open());
        breaker.force_closed();
        other.join().unwrap();
        let reported = reported.lock().unwrap();
        assert_eq!(reported.len(), 2);
        assert_eq!(reported[0].0, State::Closed);
        assert_eq!(reported[0].1, reported[1].0);
        assert_eq!(reported[1].1, breaker.state());
    });
}

fn watch(
    reported: &Arc<Mutex<Vec<(State, State)>>>,
) -> impl Fn(&BreakerEvent) + Send + Sync + use<> {
    let reported = reported.clone();
    move |event| {
        if let BreakerEvent::Transition { from, to, .. } = event {
            reported.lock().unwrap().push((*from, *to));
        }
    }
}
