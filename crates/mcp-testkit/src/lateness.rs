//! How much slower this machine is than an idle one, so that a bound on real time does not hold a test against its
//! neighbours.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Measures, from its creation on, how late a sleeping thread wakes, and how long the threads of this process wait for a
/// processor.
///
/// Beside eight busy processes on two cores work takes five times as long, and a thread wakes milliseconds late. A test
/// adds both to the bound that it checks. On an idle machine they are next to nothing.
#[derive(Debug)]
pub struct Lateness {
    worst_nanos: Arc<AtomicU64>,
    before: HashMap<u64, Spent>,
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
        Self {
            worst_nanos,
            before: Spent::by_thread(),
        }
    }

    /// The latest that a sleeping thread has woken so far.
    pub fn worst(&self) -> Duration {
        Duration::from_nanos(self.worst_nanos.load(Ordering::Relaxed))
    }

    /// The time that work takes, over the processor time that it takes: 1 where a processor is always free. Measured on
    /// Linux only, and 1 elsewhere.
    pub fn slowdown(&self) -> f64 {
        let (mut running, mut waiting) = (0, 0);
        for (thread, now) in Spent::by_thread() {
            let before = self.before.get(&thread).copied().unwrap_or_default();
            running += now.running.saturating_sub(before.running);
            waiting += now.waiting.saturating_sub(before.waiting);
        }
        1.0 + waiting as f64 / running.max(1) as f64
    }

    /// Asserts that something took less than `bound` on a machine as slow as this.
    ///
    /// # Panics
    ///
    /// If it took longer.
    #[track_caller]
    pub fn assert_within(&self, bound: Duration, took: Duration) {
        let (worst, slowdown) = (self.worst(), self.slowdown());
        assert!(
            took < bound.mul_f64(slowdown) + WAKE_UPS * worst,
            "took {took:?}, more than {bound:?} times {slowdown:.1} and {WAKE_UPS} wake-ups, each {worst:?} late"
        );
    }
}

/// Nanoseconds of a thread on a processor, and ready to run without one.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    running: u64,
    waiting: u64,
}

impl Spent {
    fn by_thread() -> HashMap<u64, Self> {
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        threads
            .flatten()
            .filter_map(|thread| {
                let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
                let mut numbers = text.split_whitespace().map(str::parse);
                let spent = Self {
                    running: numbers.next()?.ok()?,
                    waiting: numbers.next()?.ok()?,
                };
                Some((thread.file_name().to_str()?.parse().ok()?, spent))
            })
            .collect()
    }
}

const NAP: Duration = Duration::from_millis(1);

/// Threads that wake each other between a cause and its effect: the server's, the runtime's, the caller's, and back.
const WAKE_UPS: u32 = 8;
