//! The sliding window, at no cost on the path of a call.
//!
//! The atomics only grow. A reader completes a slice each twelfth of the window, with what they have grown by. The window is
//! the sum of its slices. If readers come less often, slices are longer, and so is the window, which reports its real length.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::histogram::Distribution;

const SLICES: u32 = 12;

#[derive(Debug)]
pub(crate) struct Window {
    length: Duration,
    slices: VecDeque<Slice>,
    /// When the incomplete slice began, and the counts at that moment.
    began: (Instant, Rolling),
}

#[derive(Debug)]
struct Slice {
    from: Instant,
    to: Instant,
    grown: Rolling,
}

/// The counts that the window follows, in total or over some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rolling {
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    pub(crate) faults: u64,
    pub(crate) refused: u64,
    /// Sessions that crashed, and openings that failed.
    pub(crate) crashes: u64,
    /// Durations of judged calls.
    pub(crate) called: Distribution,
    pub(crate) acquired: Distribution,
    pub(crate) opened: Distribution,
}

impl Window {
    pub(crate) fn new(length: Duration, now: Instant) -> Self {
        Self {
            length,
            slices: VecDeque::new(),
            began: (now, Rolling::default()),
        }
    }

    /// Completes a slice if it is time.
    pub(crate) fn tick(&mut self, now: Instant, totals: impl FnOnce() -> Rolling) {
        let (from, before) = &self.began;
        if now.saturating_duration_since(*from) < self.length / SLICES {
            return;
        }
        let totals = totals();
        self.slices.push_back(Slice {
            from: *from,
            to: now,
            grown: totals.since(before),
        });
        self.began = (now, totals);
        while self
            .slices
            .front()
            .is_some_and(|slice| now.saturating_duration_since(slice.to) >= self.length)
        {
            self.slices.pop_front();
        }
    }

    /// The counts of the window, and its length.
    pub(crate) fn read(&self, now: Instant, totals: &Rolling) -> (Rolling, Duration) {
        let (from, before) = &self.began;
        let mut recent = totals.since(before);
        for slice in &self.slices {
            recent.add(&slice.grown);
        }
        let first = self.slices.front().map_or(*from, |slice| slice.from);
        (recent, now.saturating_duration_since(first))
    }

    /// Empties the window.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.slices.clear();
        self.began = (now, Rolling::default());
    }
}

impl Rolling {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.answered += other.answered;
        self.faults += other.faults;
        self.refused += other.refused;
        self.crashes += other.crashes;
        self.called.add(&other.called);
        self.acquired.add(&other.acquired);
        self.opened.add(&other.opened);
    }

    fn since(&self, earlier: &Self) -> Self {
        // Fewer than before: there was a reset.
        let grown = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
        Self {
            requests: grown(self.requests, earlier.requests),
            answered: grown(self.answered, earlier.answered),
            faults: grown(self.faults, earlier.faults),
            refused: grown(self.refused, earlier.refused),
            crashes: grown(self.crashes, earlier.crashes),
            called: self.called.since(&earlier.called),
            acquired: self.acquired.since(&earlier.acquired),
            opened: self.opened.since(&earlier.opened),
        }
    }
}
