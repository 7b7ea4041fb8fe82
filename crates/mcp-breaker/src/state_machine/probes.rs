//! The probes of one half-open period: which are out, until when, and how many succeeded.
//!
//! A probe's place comes back by its result, when its permit is dropped, or when its time is over. Without the last, a
//! few probes that never end would keep the breaker half-open.

use std::time::Duration;

use tokio::time::Instant;

/// Identifies a probe within its half-open period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeId(u32);

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
    /// Each with the end of its time.
    out: Vec<(ProbeId, Instant)>,
    sent: u32,
    successes: u32,
}

impl Probes {
    pub(crate) fn new(limits: ProbeLimits) -> Self {
        Self {
            limits,
            out: Vec::new(),
            sent: 0,
            successes: 0,
        }
    }

    /// Sends a probe out; `None` if all places are taken. It may be out for `takes` if that is longer than the limit.
    pub(crate) fn send(&mut self, now: Instant, takes: Duration) -> Option<ProbeId> {
        if self.out() >= self.limits.max_calls {
            return None;
        }
        let id = ProbeId(self.sent);
        self.sent = self.sent.wrapping_add(1);
        self.out.push((id, now + self.limits.time.max(takes)));
        Some(id)
    }

    /// Takes back the place of one probe whose time is over.
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
