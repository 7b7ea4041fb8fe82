//! How late this machine wakes a thread, so that a bound on real time does not hold a test against its neighbours.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Measures, from its creation until it is dropped, how late a thread wakes that sleeps for a millisecond.
///
/// Beside eight busy processes on two cores that is tens of milliseconds, on an idle machine a fraction of one. A test
/// adds what the machine was late by to the bound that it checks.
#[derive(Debug)]
pub struct Lateness {
    worst_nanos: Arc<AtomicU64>,
}

impl Lateness {
    /// Begins to measure.
    #[allow(
        clippy::disallowed_methods,
        reason = "the wall clock is what is measured, by a thread that does nothing else"
    )]
    pub fn watch() -> Self {
        let worst_nanos = Arc::new(AtomicU64::new(0));
        let shared = Arc::downgrade(&worst_nanos);
        std::thread::spawn(move || {
            while let Some(worst) = shared.upgrade() {
                let slept = Instant::now();
                std::thread::sleep(NAP);
                let late = slept.elapsed().saturating_sub(NAP);
                let late = late.as_nanos().try_into().unwrap_or(u64::MAX);
                worst.fetch_max(late, Ordering::Relaxed);
            }
        });
        Self { worst_nanos }
    }

    /// The worst so far.
    pub fn worst(&self) -> Duration {
        Duration::from_nanos(self.worst_nanos.load(Ordering::Relaxed))
    }

    /// Asserts that something took less than `bound` plus what the machine was late by.
    ///
    /// # Panics
    ///
    /// If it took longer.
    #[track_caller]
    pub fn assert_within(&self, bound: Duration, took: Duration) {
        let allowed = bound + WAKE_UPS * self.worst();
        assert!(
            took < allowed,
            "took {took:?}, more than {bound:?} and {WAKE_UPS} wake-ups, each up to {:?} late",
            self.worst()
        );
    }
}

const NAP: Duration = Duration::from_millis(1);

/// Threads that wake each other between a cause and its effect: the server's, the runtime's, the caller's, and back.
const WAKE_UPS: u32 = 8;
