//! Rates of faults and of slow calls in a sliding window of time.
//!
//! The window is a ring of [`BUCKETS`] buckets with running sums. Time and memory per call do not depend on the rate of
//! calls. It forgets one bucket at a time, so it covers between 95 and 100 % of its length.
//!
//! It judges as soon as it holds the minimum number of calls. A moving average that waits for a whole window misses an
//! outage at the start and a burst between two ticks. Only a fault trips on the fault rate, only a slow call on the slow
//! call rate: a success that completes the minimum must not open the breaker.

use std::time::Duration;

use tokio::time::Instant;

use super::Outcome;
use crate::{TransitionReason, WindowCounts};

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
        }
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

    /// Adds a call. Returns the rate on which it trips, if it does.
    pub(crate) fn record(&mut self, outcome: Outcome) -> Option<TransitionReason> {
        if outcome.at >= self.head_ends {
            self.advance(outcome.at);
        }
        let call = Sums {
            calls: 1,
            faults: outcome.fault.into(),
            slow: outcome.slow.into(),
        };
        self.ring[(self.head % BUCKETS) as usize].add(call);
        self.sums.add(call);
        self.judge(outcome)
    }

    /// Forgets every call.
    pub(crate) fn clear(&mut self) {
        self.ring = Default::default();
        self.sums = Sums::default();
    }

    /// Moves the head to the bucket of `at` and empties those in between. Calls may arrive slightly out of order: one
    /// from before the head counts in the head.
    fn advance(&mut self, at: Instant) {
        let now = self.bucket(at);
        for bucket in self.head + 1..=now.min(self.head + BUCKETS) {
            let old = std::mem::take(&mut self.ring[(bucket % BUCKETS) as usize]);
            self.sums.remove(old);
        }
        self.head = now;
        self.head_ends = self.origin + Duration::from_nanos(self.width.saturating_mul(now + 1));
    }

    fn bucket(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.origin).as_nanos() as u64 / self.width
    }

    fn judge(&self, outcome: Outcome) -> Option<TransitionReason> {
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
        if outcome.fault
            && let Some(rate) = over(self.limits.fault_rate, faults)
        {
            return Some(TransitionReason::FaultRate { rate, calls });
        }
        if outcome.slow
            && let Some(rate) = over(self.limits.slow_rate, slow)
        {
            return Some(TransitionReason::SlowRate { rate, calls });
        }
        None
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
