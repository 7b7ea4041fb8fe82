//! Observers: every transition once and in order, every refusal, and outside every lock.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use mcp_breaker::{Breaker, BreakerBuilder, BreakerEvent, State, TransitionReason};
use tokio::time::advance;

fn watched(builder: BreakerBuilder) -> (Breaker, mpsc::Receiver<BreakerEvent>) {
    let (sender, events) = mpsc::channel();
    let observer = move |event: &BreakerEvent| {
        let _ = sender.send(event.clone());
    };
    (builder.observer(observer).build().unwrap(), events)
}

fn transitions(events: &mpsc::Receiver<BreakerEvent>) -> Vec<(State, State)> {
    let transition = |event| match event {
        BreakerEvent::Transition { from, to, .. } => Some((from, to)),
        _ => None,
    };
    events.try_iter().filter_map(transition).collect()
}

#[tokio::test(start_paused = true)]
async fn each_transition_is_told_once_with_its_reason() {
    let (breaker, events) = watched(Breaker::builder().recovery_jitter(0.0));
    let mut reported = Vec::new();
    let mut report = || {
        for event in events.try_iter() {
            if let BreakerEvent::Transition {
                from,
                to,
                reason,
                retry_after,
                ..
            } = event
            {
                reported.push((from, to, reason, retry_after.map(|after| after.as_secs())));
            }
        }
    };
    (0..5).for_each(|_| breaker.try_acquire().unwrap().fault());
    advance(Duration::from_secs(60)).await;
    breaker.try_acquire().unwrap().fault();
    advance(Duration::from_secs(120)).await;
    (0..2).for_each(|_| breaker.try_acquire().unwrap().success());
    breaker.force_open();
    breaker.force_open();
    breaker.reset();
    breaker.reset();
    report();
    use State::{Closed, ForcedOpen, HalfOpen, Open};
    assert_eq!(
        reported,
        [
            (
                Closed,
                Open,
                TransitionReason::ConsecutiveFaults { count: 5 },
                Some(60)
            ),
            (Open, HalfOpen, TransitionReason::RecoveryOver, None),
            (HalfOpen, Open, TransitionReason::ProbeFault, Some(120)),
            (Open, HalfOpen, TransitionReason::RecoveryOver, None),
            (
                HalfOpen,
                Closed,
                TransitionReason::ProbesSucceeded { count: 2 },
                None
            ),
            (Closed, ForcedOpen, TransitionReason::Manual, None),
            (ForcedOpen, Closed, TransitionReason::Reset, None),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_and_released_probes_are_told() {
    let (breaker, events) = watched(
        Breaker::builder()
            .failure_threshold(1)
            .half_open_max_calls(1),
    );
    breaker.try_acquire().unwrap().fault();
    let refused = breaker.try_acquire().unwrap_err();
    assert_eq!(
        events.try_iter().last(),
        Some(BreakerEvent::Rejected(refused))
    );
    advance(refused.retry_after.unwrap()).await;
    let _hung = breaker.try_acquire().unwrap();
    advance(Duration::from_secs(30)).await;
    let _next = breaker.try_acquire().unwrap();
    assert!(matches!(
        events.try_iter().last(),
        Some(BreakerEvent::ProbeReleased { still_out: 0, .. })
    ));
}

#[test]
fn an_observer_may_call_back_into_the_breaker() {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        let itself = Arc::new(OnceLock::<Breaker>::new());
        let seen = Arc::new(AtomicUsize::new(0));
        let observer = {
            let (itself, seen) = (itself.clone(), seen.clone());
            move |event: &BreakerEvent| {
                let breaker = itself.get().unwrap();
                let _ = (breaker.state(), breaker.counts(), breaker.retry_after());
                match event {
                    // The observer forces a breaker open that has just opened, within the event.
                    BreakerEvent::Transition {
                        to: State::Open, ..
                    } => {
                        breaker.force_open();
                        assert_eq!(breaker.state(), State::ForcedOpen);
                        assert!(breaker.try_acquire().is_err());
                    }
                    BreakerEvent::Transition {
                        to: State::ForcedOpen,
                        ..
                    } => breaker.reset(),
                    _ => {}
                }
                seen.fetch_add(1, Ordering::Relaxed);
            }
        };
        let breaker = Breaker::builder()
            .failure_threshold(1)
            .observer(observer)
            .build()
            .unwrap();
        itself.set(breaker.clone()).unwrap();
        breaker.try_acquire().unwrap().fault();
        done.send((breaker.state(), seen.load(Ordering::Relaxed)))
            .unwrap();
    });
    // Three transitions and one refusal; a deadlock ends here instead.
    assert_eq!(
        finished.recv_timeout(Duration::from_secs(20)),
        Ok((State::Closed, 4))
    );
}

#[test]
fn many_threads_tell_each_transition_once_and_in_order() {
    let (breaker, events) = watched(
        Breaker::builder()
            .failure_threshold(1)
            .success_threshold(1)
            .recovery_timeout(Duration::from_nanos(1))
            .recovery_jitter(0.0)
            .recovery_factor(1.0),
    );
    thread::scope(|scope| {
        for worker in 0..4 {
            let breaker = &breaker;
            scope.spawn(move || {
                for call in 0..5_000 {
                    if let Ok(permit) = breaker.try_acquire() {
                        if (call + worker) % 2 == 0 {
                            permit.fault();
                        } else {
                            permit.success();
                        }
                    }
                }
            });
        }
    });
    let reported = transitions(&events);
    let mut state = State::Closed;
    for (from, to) in &reported {
        assert_eq!(
            *from, state,
            "every event takes up where the one before left off"
        );
        state = *to;
    }
    assert_eq!(state, breaker.state());
    let opened = reported.iter().filter(|(_, to)| *to == State::Open).count();
    assert_eq!(opened as u64, breaker.counts().times_opened);
    assert!(opened > 10, "{opened}: the test has seen something");
}

#[test]
fn an_observer_that_panics_once_does_not_silence_the_breaker() {
    let first = AtomicBool::new(true);
    let (sender, events) = mpsc::channel();
    let breaker = Breaker::builder()
        .observer(move |event: &BreakerEvent| {
            assert!(
                !first.swap(false, Ordering::Relaxed),
                "the observer's own mistake"
            );
            sender.send(event.clone()).unwrap();
        })
        .build()
        .unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| breaker.force_open())).is_err());
    assert_eq!(breaker.state(), State::ForcedOpen);
    breaker.reset();
    assert_eq!(transitions(&events), [(State::ForcedOpen, State::Closed)]);
}

#[test]
fn every_reason_has_a_text() {
    for (reason, text) in [
        (
            TransitionReason::ConsecutiveFaults { count: 5 },
            "5 consecutive faults",
        ),
        (
            TransitionReason::FaultRate {
                rate: 0.5,
                calls: 10,
            },
            "50 % of 10 calls failed",
        ),
        (
            TransitionReason::SlowRate {
                rate: 0.9,
                calls: 10,
            },
            "90 % of 10 calls were slow",
        ),
        (TransitionReason::RecoveryOver, "the recovery time is over"),
        (
            TransitionReason::ProbesSucceeded { count: 2 },
            "2 probes succeeded",
        ),
        (TransitionReason::Manual, "set manually"),
    ] {
        assert_eq!(reason.to_string(), text);
    }
}
