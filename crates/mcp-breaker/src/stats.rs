//! The books of a breaker: its totals, its policy, and the epoch they belong to.
//!
//! A success in a closed breaker can move nothing but the books, so it is written here, under this small lock, and
//! neither the gate nor failsafe's machine is troubled: that is the hot path. Everything that can move the state goes
//! through the gate first, which locks the ledger in turn: gate, machine, ledger, always in that order.

use std::{sync::Arc, time::Duration};

use failsafe::FailurePolicy;
use tokio::time::Instant;

use crate::{
    Class,
    policy::{Combined, Note, TRIP},
    sync::Mutex,
};

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) epoch: u64,
    /// Whether the machine's failures are calls to be judged. Not while half-open: one failed probe is enough.
    pub(crate) judging: bool,
    /// Left by the gate for the policy, which the machine is about to ask. It waits here, not with the policy: a success
    /// may come in between and leave a note of its own.
    pub(crate) note: Option<Note>,
    pub(crate) policy: Combined,
    pub(crate) totals: Totals,
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

impl Ledger {
    pub(crate) fn new(policy: Combined) -> Self {
        Self {
            epoch: 0,
            judging: true,
            note: None,
            policy,
            totals: Totals::default(),
        }
    }

    /// Enters a result into the totals. True if it belongs to the present epoch: else it must move nothing.
    pub(crate) fn enter(&mut self, epoch: u64, class: Class, slow: bool) -> bool {
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

    /// Enters a success that was in time, of a call that was no probe.
    pub(crate) fn succeed(&mut self, epoch: u64, at: Instant) {
        if self.enter(epoch, Class::Success, false) {
            self.policy.note(Note {
                at,
                fault: false,
                slow: false,
                in_rates: true,
            });
            self.policy.record_success();
        }
    }
}

/// The ledger's policy as failsafe's machine holds it.
#[derive(Clone, Debug)]
pub(crate) struct Judge(pub(crate) Arc<Mutex<Ledger>>);

impl FailurePolicy for Judge {
    /// The machine says this once, when the last probe closes it; probes are not in the window.
    fn record_success(&mut self) {}

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        let mut ledger = self.0.lock();
        if !ledger.judging {
            return TRIP;
        }
        if let Some(note) = ledger.note.take() {
            ledger.policy.note(note);
        }
        ledger.policy.mark_dead_on_failure()
    }

    fn revived(&mut self) {
        self.0.lock().policy.revived();
    }
}
