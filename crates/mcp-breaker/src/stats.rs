//! Statistics of a breaker: its totals, the state of its policy, and their epoch.
//!
//! A success while closed cannot move the state. It is recorded here under this small lock, without the state machine:
//! that is the hot path. Every other result goes through the state machine, which locks the statistics in turn.

use std::{sync::Arc, time::Duration};

use failsafe::FailurePolicy;
use tokio::time::Instant;

use crate::{
    Class, TransitionReason,
    policy::{Combined, Outcome},
    settings::LONGEST,
    sync::Mutex,
};

#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) epoch: u64,
    pub(crate) policy: Combined,
    pub(crate) totals: Totals,
    /// The outcome that failsafe's machine is about to ask the policy about: its trait has no arguments.
    pub(crate) pending: Option<Outcome>,
    /// Why the policy tripped: its trait returns no reason either.
    pub(crate) tripped: Option<TransitionReason>,
}

/// Results since the breaker was built.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) successes: u64,
    pub(crate) faults: u64,
    pub(crate) ignored: u64,
    pub(crate) slow: u64,
    pub(crate) late: u64,
}

impl Stats {
    pub(crate) fn new(policy: Combined) -> Self {
        Self {
            epoch: 0,
            policy,
            totals: Totals::default(),
            pending: None,
            tripped: None,
        }
    }

    /// Adds a result to the totals. False if it is late: it belongs to a past epoch and must have no other effect.
    pub(crate) fn count(&mut self, epoch: u64, class: Class, slow: bool) -> bool {
        match class {
            Class::Success => self.totals.successes += 1,
            Class::Fault => self.totals.faults += 1,
            Class::Ignored => self.totals.ignored += 1,
        }
        self.totals.slow += u64::from(slow);
        let current = epoch == self.epoch;
        self.totals.late += u64::from(!current);
        current
    }

    /// Records a success that was not slow, of a call that was no probe.
    pub(crate) fn success(&mut self, epoch: u64, at: Instant) {
        if self.count(epoch, Class::Success, false) {
            self.policy.record(Outcome {
                at,
                fault: false,
                slow: false,
                in_rates: true,
            });
        }
    }
}

/// The policy as failsafe's machine holds it.
#[derive(Clone, Debug)]
pub(crate) struct TripPolicy(pub(crate) Arc<Mutex<Stats>>);

impl FailurePolicy for TripPolicy {
    /// Successes are recorded in [`Stats::success`].
    fn record_success(&mut self) {}

    /// *Whether* to open is the policy's business, *for how long* the [`Recovery`](crate::recovery::Recovery)'s.
    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        let mut stats = self.0.lock();
        let outcome = stats.pending.take()?;
        stats.tripped = stats.policy.record(outcome);
        stats.tripped.map(|_| LONGEST)
    }

    /// The state machine clears the policy itself, also where failsafe's machine was closed all along.
    fn revived(&mut self) {}
}
