//! Real threads in real time, which the model cannot cover.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use mcp_breaker::{Breaker, State};

const THREADS: usize = 8;

fn quick() -> mcp_breaker::BreakerBuilder {
    Breaker::builder()
        .failure_threshold(1)
        .recovery_timeout(Duration::from_nanos(1))
        .recovery_factor(1.0)
        .recovery_jitter(0.0)
}

#[test]
fn callers_arriving_together_send_no_more_probes_than_allowed() {
    for round in 0..300 {
        let breaker = quick().half_open_max_calls(3).build().unwrap();
        breaker.try_acquire().unwrap().fault();
        let (together, passed) = (Barrier::new(THREADS), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    together.wait();
                    let permit = breaker.try_acquire();
                    passed.fetch_add(u32::from(permit.is_ok()), Ordering::Relaxed);
                    together.wait();
                });
            }
        });
        assert_eq!(passed.into_inner(), 3, "round {round}");
        assert_eq!(breaker.counts().probes_out, 0, "all gave their places back");
    }
}

#[test]
fn no_result_is_lost_or_counted_twice() {
    let breaker = quick().half_open_max_calls(2).build().unwrap();
    let (passed, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in 0..THREADS {
            let (breaker, passed, refused) = (&breaker, &passed, &refused);
            scope.spawn(move || {
                for call in 0..20_000 {
                    match breaker.try_acquire() {
                        Ok(permit) => {
                            passed.fetch_add(1, Ordering::Relaxed);
                            match (call + worker) % 16 {
                                0 => permit.fault(),
                                1 => drop(permit),
                                _ => permit.success(),
                            }
                        }
                        Err(_) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    let out = breaker.counts().probes_out;
                    assert!(out <= 2, "{out} probes out");
                }
            });
        }
    });
    let counts = breaker.counts();
    assert_eq!(counts.calls, passed.into_inner());
    assert_eq!(counts.rejected, refused.into_inner());
    assert_eq!(counts.probes_out, 0);
    assert!(
        counts.times_opened > 100,
        "{}: the test has seen something",
        counts.times_opened
    );

    // Whatever has happened, two good probes close it.
    while breaker.state() != State::Closed {
        breaker.try_acquire().unwrap().success();
    }
}
