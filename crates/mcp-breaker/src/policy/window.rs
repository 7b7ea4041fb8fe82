//! Rates of faults and of slow calls over the last while.
//!
//! The window is a ring of [`BUCKETS`] buckets by time, with running sums: recording costs the same at any rate of
//! calls, and so does the memory. It forgets in steps of one bucket, so it covers between 95 and 100 % of its length.
//!
//! It judges from the first moment, as soon as it holds the minimum number of calls. (A moving average that waits for a
//! whole window to pass is blind to an outage at the start, and to a burst that fits between two of its ticks.) Only a
//! fault can trip on the rate of faults, only a slow call on that of slow ones: to open on a success, because it
//! happens to complete the minimum, surprises everybody.

use std::time::Duration;

use failsafe::FailurePolicy;
use tokio::time::Instant;

use super::{Note, TRIP};
use crate::{Reason, WindowCounts};

/// From which rates on the window trips.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowLimits {
    pub(crate) length: Duration,
    pub(crate) minimum_calls: u32,
    pub(crate) fault_rate: Option<f64>,
    pub(crate) slow_rate: Option<f64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Window {
    limits: WindowLimits,
    origin: Instant,
    width: u64,
    ring: [Sums; BUCKETS as usize],
    sums: Sums,
    /// The bucket being filled, counted from the origin, and when it ends.
    head: u64,
    head_ends: Instant,
    note: Note,
    reason: Option<Reason>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    calls: u64,
    faults: u64,
    slow: u64,
}

impl Window {
    pub(crate) fn new(limits: WindowLimits, origin: Instant) -> Self {
        let width = (limits.length.as_nanos() as u64 / BUCKETS).max(1);
        Self {
            limits,
            origin,
            width,
            ring: [Sums::default(); BUCKETS as usize],
            sums: Sums::default(),
            head: 0,
            head_ends: origin + Duration::from_nanos(width),
            note: Note {
                in_rates: true,
                at: origin,
                fault: true,
                slow: false,
            },
            reason: None,
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.note = note;
    }

    /// What it tripped on, if it did the last time it was asked.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The window as of `now`; forgets nothing.
    pub(crate) fn counts(&self, now: Instant) -> WindowCounts {
        let oldest = (self.bucket(now) + 1)
            .saturating_sub(BUCKETS)
            .max((self.head + 1).saturating_sub(BUCKETS));
        let mut sums = Sums::default();
        for bucket in oldest..=self.head {
            sums.add(self.ring[(bucket % BUCKETS) as usize]);
        }
        let rate = |part: u64| (sums.calls > 0).then(|| part as f64 / sums.calls as f64);
        WindowCounts {
            calls: sums.calls,
            faults: sums.faults,
            slow: sums.slow,
            fault_rate: rate(sums.faults),
            slow_rate: rate(sums.slow),
        }
    }

    fn record(&mut self, fault: bool, slow: bool) {
        if self.note.at >= self.head_ends {
            self.turn();
        }
        let call = Sums {
            calls: 1,
            faults: fault.into(),
            slow: slow.into(),
        };
        self.ring[(self.head % BUCKETS) as usize].add(call);
        self.sums.add(call);
    }

    /// Moves on to the bucket of the note's time, emptying those in between. Threads may come here a little out of order:
    /// a call from before the head is put into the head.
    fn turn(&mut self) {
        let now = self.bucket(self.note.at);
        for bucket in self.head + 1..=now.min(self.head + BUCKETS) {
            let gone = std::mem::take(&mut self.ring[(bucket % BUCKETS) as usize]);
            self.sums.remove(gone);
        }
        self.head = now;
        self.head_ends = self.origin + Duration::from_nanos(self.width.saturating_mul(now + 1));
    }

    fn bucket(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.origin).as_nanos() as u64 / self.width
    }

    fn judge(&self) -> Option<Reason> {
        let Sums {
            calls,
            faults,
            slow,
        } = self.sums;
        if calls < u64::from(self.limits.minimum_calls) {
            return None;
        }
        // Divided, not multiplied: 3 of 30 must reach a limit of 0.1.
        let over = |limit: Option<f64>, part: u64| {
            let rate = part as f64 / calls as f64;
            limit.is_some_and(|limit| rate >= limit).then_some(rate)
        };
        if self.note.fault
            && let Some(rate) = over(self.limits.fault_rate, faults)
        {
            return Some(Reason::FaultRate { rate, calls });
        }
        if self.note.slow
            && let Some(rate) = over(self.limits.slow_rate, slow)
        {
            return Some(Reason::SlowRate { rate, calls });
        }
        None
    }
}

impl FailurePolicy for Window {
    fn record_success(&mut self) {
        self.record(false, false);
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        self.record(self.note.fault, self.note.slow);
        self.reason = self.judge();
        if self.reason.is_some() { TRIP } else { None }
    }

    fn revived(&mut self) {
        self.ring = Default::default();
        self.sums = Sums::default();
        self.reason = None;
    }
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.faults += other.faults;
        self.slow += other.slow;
    }

    fn remove(&mut self, other: Self) {
        self.calls -= other.calls;
        self.faults -= other.faults;
        self.slow -= other.slow;
    }
}

const BUCKETS: u64 = 20;

#[cfg(test)]
mod tests;
