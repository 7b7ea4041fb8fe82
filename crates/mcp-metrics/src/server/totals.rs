//! The values of a server's atomics at one moment, from which both readers start.

use std::borrow::Cow;

use crate::{
    histogram::Distribution,
    outcome::{CallOutcome, Judgement},
    window::Rolling,
};

#[derive(Clone, Debug)]
pub(crate) struct Totals {
    pub(crate) calls: Vec<Calls>,
    pub(crate) hits: Distribution,
    pub(crate) misses: Distribution,
    pub(crate) opened: Distribution,
    pub(crate) closed: Vec<Closed>,
    pub(crate) errors: Vec<(Cow<'static, str>, u64)>,
    pub(crate) retries: u64,
    pub(crate) fallbacks: u64,
    /// To closed, half-open, open.
    pub(crate) transitions: [u64; 3],
    pub(crate) rejected: u64,
    /// Of dead and alive sessions.
    pub(crate) probes: [u64; 2],
    pub(crate) last_probe_failed: bool,
    /// A bit for each active alert.
    pub(crate) alerts: u64,
    pub(crate) health: u64,
    #[cfg(feature = "otel")]
    pub(crate) transport: Option<Cow<'static, str>>,
}

/// Calls of one method or tool, without outcomes that have not occurred.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    #[cfg(feature = "otel")]
    pub(crate) method: Cow<'static, str>,
    pub(crate) tool: Option<Cow<'static, str>>,
    pub(crate) outcomes: Vec<(CallOutcome, Distribution)>,
    /// Calls whose outcome is usually a fault of the server and was not.
    pub(crate) excused: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) reason: Cow<'static, str>,
    pub(crate) ages: Distribution,
    pub(crate) faults: u64,
}

impl Totals {
    /// The durations of all calls by outcome; empty ones are left out.
    pub(crate) fn outcomes(&self) -> Vec<(CallOutcome, Distribution)> {
        let mut by_outcome: Vec<(CallOutcome, Distribution)> = Vec::new();
        for (outcome, durations) in self.calls.iter().flat_map(|calls| &calls.outcomes) {
            match by_outcome.binary_search_by_key(outcome, |(known, _)| *known) {
                Ok(at) => by_outcome[at].1.add(durations),
                Err(at) => by_outcome.insert(at, (*outcome, durations.clone())),
            }
        }
        by_outcome
    }

    pub(crate) fn acquired(&self) -> Distribution {
        let mut acquired = self.hits.clone();
        acquired.add(&self.misses);
        acquired
    }

    /// Calls whose outcome is usually a fault of the server and was not.
    pub(crate) fn excused(&self) -> u64 {
        self.calls.iter().map(|calls| calls.excused).sum()
    }

    pub(crate) fn connection_errors(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    /// What the sliding window follows.
    pub(crate) fn rolling(&self) -> Rolling {
        let mut rolling = Rolling {
            acquired: self.acquired(),
            opened: self.opened.clone(),
            crashes: self.closed.iter().map(|closed| closed.faults).sum::<u64>()
                + self.connection_errors(),
            ..Rolling::default()
        };
        for (outcome, durations) in self.outcomes() {
            let count = durations.count();
            rolling.requests += count;
            match outcome.judgement() {
                Judgement::Answered => rolling.answered += count,
                Judgement::Fault => rolling.faults += count,
                Judgement::Refused => rolling.refused += count,
                Judgement::Nothing => continue,
            }
            if outcome.judgement() != Judgement::Refused {
                rolling.called.add(&durations);
            }
        }
        rolling.faults = rolling.faults.saturating_sub(self.excused());
        rolling
    }
}
