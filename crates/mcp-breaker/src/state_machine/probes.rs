//! The probes of one half-open period: who is out, since when, and how many came back well.
//!
//! A probe's place comes back in one of three ways: by its result, by its permit being dropped, or by its time running
//! out. The last is what a breaker must not be without: one probe that never ends would otherwise hold its place for ever,
//! and a few of them the whole breaker.

use std::{num::NonZeroU64, time::Duration};

use tokio::time::Instant;

/// Names a probe within its half-open period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeId(NonZeroU64);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeLimits {
    /// Probes out at once.
    pub(crate) max_calls: u32,
    /// Successes that close.
    pub(crate) successes: u32,
    /// How long a probe may be out.
    pub(crate) time: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Probes {
    limits: ProbeLimits,
    out: Vec<(ProbeId, Instant)>,
    next: ProbeId,
    successes: u32,
}

impl Probes {
    pub(crate) fn new(limits: ProbeLimits) -> Self {
        Self {
            limits,
            out: Vec::new(),
            next: ProbeId(NonZeroU64::MIN),
            successes: 0,
        }
    }

    /// Starts a new period: nobody out, nothing proven.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
        self.successes = 0;
    }

    /// Sends one out, if a place is free.
    pub(crate) fn send(&mut self, now: Instant) -> Option<ProbeId> {
        if self.out() >= self.limits.max_calls {
            return None;
        }
        let id = self.next;
        self.next = ProbeId(id.0.saturating_add(1));
        self.out.push((id, now + self.limits.time));
        Some(id)
    }

    /// Takes back the place of one probe whose time has run out.
    pub(crate) fn release_hung(&mut self, now: Instant) -> bool {
        let hung = self.out.iter().position(|(_, until)| now >= *until);
        hung.map(|index| self.out.remove(index)).is_some()
    }

    /// Takes back the place of this probe. False if it had lost it.
    pub(crate) fn give_back(&mut self, id: ProbeId) -> bool {
        let index = self.out.iter().position(|(out, _)| *out == id);
        index.map(|index| self.out.remove(index)).is_some()
    }

    /// Counts a success. True if it was the last one needed.
    pub(crate) fn succeed(&mut self) -> bool {
        self.successes += 1;
        self.successes >= self.limits.successes
    }

    pub(crate) fn out(&self) -> u32 {
        self.out.len() as u32
    }

    pub(crate) fn successes(&self) -> u32 {
        self.successes
    }
}
