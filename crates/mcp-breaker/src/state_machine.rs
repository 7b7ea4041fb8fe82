//! Circuit breaker state machine: which calls pass, and which results move the state.
//!
//! failsafe's state machine keeps closed and open, and asks the policy about each fault. This one adds what failsafe
//! lacks: a limit on half-open probes, closing after several successes, epochs, recovery times on tokio's clock, and
//! states set by hand. Permits carry the epoch in which they were granted, so that a late result cannot move a newer
//! state.
//!
//! It does no I/O, reads no clock and calls no observer. The [`Breaker`](crate::Breaker) changes it under one lock and
//! publishes its `events`.

mod probes;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    BreakerEvent, Class, Rejected, State, TransitionReason,
    policy::Outcome,
    recovery::{Recovery, RecoverySettings},
    state::Snapshot,
    stats::{Stats, TripPolicy},
    sync::Mutex,
};
use probes::Probes;
pub(crate) use probes::{ProbeId, ProbeLimits};

pub(crate) struct StateMachine {
    /// Closed or open. It never goes half-open by itself: that state of failsafe's admits every caller, on a clock that
    /// tests cannot pause.
    machine: failsafe::StateMachine<TripPolicy, ()>,
    stats: Arc<Mutex<Stats>>,
    recovery: Recovery,
    probe_limits: ProbeLimits,
    /// The probes while half-open.
    probes: Option<Probes>,
    /// The state set by hand. failsafe's machine stays closed meanwhile.
    forced: Option<State>,
    epoch: u64,
    open_until: Instant,
    pub(crate) totals: StateTotals,
    pub(crate) events: Vec<BreakerEvent>,
}

/// What only the state machine can count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StateTotals {
    pub(crate) rejected: u64,
    pub(crate) times_opened: u64,
    pub(crate) probes_released: u64,
}

/// What a permit remembers of how it was granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    pub(crate) epoch: u64,
    pub(crate) probe: Option<ProbeId>,
    /// False while the breaker is disabled: the result is not recorded.
    pub(crate) counts: bool,
}

impl StateMachine {
    pub(crate) fn new(
        stats: Arc<Mutex<Stats>>,
        recovery: RecoverySettings,
        probe_limits: ProbeLimits,
        now: Instant,
    ) -> Self {
        Self {
            machine: failsafe::StateMachine::new(TripPolicy(stats.clone()), ()),
            stats,
            recovery: Recovery::new(recovery),
            probe_limits,
            probes: None,
            forced: None,
            epoch: 0,
            open_until: now,
            totals: StateTotals::default(),
            events: Vec::new(),
        }
    }

    /// Admits or rejects one call, which may take so long.
    pub(crate) fn admit(&mut self, now: Instant, takes: Duration) -> Result<Admission, Rejected> {
        if self.state() == State::Open && now >= self.open_until {
            self.half_open();
        }
        if let Some(probes) = &mut self.probes {
            while probes.release_hung(now) {
                self.totals.probes_released += 1;
                self.events.push(BreakerEvent::ProbeReleased {
                    still_out: probes.out(),
                });
            }
            let probe = probes.send(now, takes);
            return match probe {
                Some(_) => Ok(self.admission(probe)),
                None => Err(self.reject(None)),
            };
        }
        match self.state() {
            State::Open => Err(self.reject(self.retry_after(now))),
            State::ForcedOpen => Err(self.reject(None)),
            _ => Ok(self.admission(None)),
        }
    }

    /// Takes a result that may move the state: of a probe, a fault, or slow.
    pub(crate) fn record(&mut self, admission: Admission, class: Class, slow: bool, now: Instant) {
        let outcome = Outcome {
            at: now,
            fault: class == Class::Fault,
            slow,
            in_rates: true,
        };
        self.record_outcome(admission, class, outcome);
    }

    /// Takes the result of a call that got no answer in time: a consecutive fault that is no part of the rates.
    pub(crate) fn record_timeout(&mut self, admission: Admission, now: Instant) {
        let outcome = Outcome {
            at: now,
            fault: true,
            slow: false,
            in_rates: false,
        };
        self.record_outcome(admission, Class::Fault, outcome);
    }

    fn record_outcome(&mut self, admission: Admission, class: Class, outcome: Outcome) {
        if !self
            .stats
            .lock()
            .count(admission.epoch, class, outcome.slow)
        {
            return;
        }
        match admission.probe {
            Some(id) => self.record_probe(id, class, outcome),
            None if self.forced.is_none() => self.record_closed(outcome),
            None => self.record_forced(outcome),
        }
    }

    /// Sets the state by hand (`None`: closed) and forgets results, probes and the growth of the recovery time.
    pub(crate) fn force(&mut self, state: Option<State>, now: Instant) {
        let from = self.state();
        self.forced = state;
        self.open_until = now;
        self.recovery.reset();
        // A new epoch even where the state stays: a result from before a reset must not count after it.
        self.close();
        if from != self.state() {
            let reason = if state.is_some() {
                TransitionReason::Manual
            } else {
                TransitionReason::Reset
            };
            self.push_transition(from, reason, None);
        }
    }

    pub(crate) fn state(&self) -> State {
        match (self.forced, &self.probes) {
            (Some(forced), _) => forced,
            (None, Some(_)) => State::HalfOpen,
            (None, None) if self.machine.is_call_permitted() => State::Closed,
            (None, None) => State::Open,
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            state: self.state(),
            epoch: self.epoch,
        }
    }

    /// Probes out now, and those that have succeeded since the state went half-open.
    pub(crate) fn probe_counts(&self) -> (u32, u32) {
        let probes = self.probes.as_ref();
        probes.map_or((0, 0), |probes| (probes.out(), probes.successes()))
    }

    /// What is left of the recovery time; `None` unless open.
    pub(crate) fn retry_after(&self, now: Instant) -> Option<Duration> {
        (self.state() == State::Open).then(|| self.open_until.saturating_duration_since(now))
    }

    /// A fault or slow call while closed: failsafe's machine asks the policy and may open.
    fn record_closed(&mut self, outcome: Outcome) {
        self.stats.lock().pending = Some(outcome);
        self.machine.on_error();
        let tripped = self.stats.lock().tripped.take();
        if let Some(reason) = tripped {
            let recovery = self.recovery.tripped(outcome.at);
            self.open(State::Closed, reason, recovery, outcome.at);
        }
    }

    /// A fault or slow call in a forced state: it is recorded, and reported where it would have opened.
    fn record_forced(&mut self, outcome: Outcome) {
        let mut stats = self.stats.lock();
        let tripped = stats.policy.record(outcome);
        if self.forced == Some(State::MetricsOnly)
            && let Some(reason) = tripped
        {
            stats.policy.clear();
            self.events.push(BreakerEvent::WouldOpen { reason });
        }
    }

    fn record_probe(&mut self, id: ProbeId, class: Class, outcome: Outcome) {
        let Some(probes) = &mut self.probes else {
            return;
        };
        if !probes.give_back(id) {
            self.stats.lock().totals.late += 1;
            return;
        }
        let now = outcome.at;
        match class {
            Class::Ignored => {}
            // A slow success is no proof where slowness trips: closing on it would mean to trip again at once.
            Class::Success if !outcome.slow => {
                if probes.succeed() {
                    let count = probes.successes();
                    self.recovery.closed(now);
                    self.close();
                    self.push_transition(
                        State::HalfOpen,
                        TransitionReason::ProbesSucceeded { count },
                        None,
                    );
                }
            }
            Class::Success | Class::Fault => {
                let reason = if class == Class::Fault {
                    TransitionReason::ProbeFault
                } else {
                    TransitionReason::ProbeSlow
                };
                let recovery = self.recovery.reopened();
                self.open(State::HalfOpen, reason, recovery, now);
            }
        }
    }

    fn open(&mut self, from: State, reason: TransitionReason, recovery: Duration, now: Instant) {
        self.totals.times_opened += 1;
        self.open_until = now + recovery;
        self.probes = None;
        self.next_epoch();
        self.push_transition(from, reason, Some(recovery));
    }

    fn half_open(&mut self) {
        self.probes = Some(Probes::new(self.probe_limits));
        self.next_epoch();
        self.push_transition(State::Open, TransitionReason::RecoveryOver, None);
    }

    fn close(&mut self) {
        self.probes = None;
        self.machine.reset();
        self.next_epoch();
        // Permits of the new epoch are granted only after this change is published.
        self.stats.lock().policy.clear();
    }

    /// Results of permits granted before this have no effect any more.
    fn next_epoch(&mut self) {
        self.epoch += 1;
        self.stats.lock().epoch = self.epoch;
    }

    fn admission(&self, probe: Option<ProbeId>) -> Admission {
        Admission {
            epoch: self.epoch,
            probe,
            counts: self.state() != State::Disabled,
        }
    }

    fn reject(&mut self, retry_after: Option<Duration>) -> Rejected {
        self.totals.rejected += 1;
        Rejected {
            retry_after,
            state: self.state(),
        }
    }

    fn push_transition(
        &mut self,
        from: State,
        reason: TransitionReason,
        retry_after: Option<Duration>,
    ) {
        self.events.push(BreakerEvent::Transition {
            from,
            to: self.state(),
            reason,
            retry_after,
        });
    }
}

impl std::fmt::Debug for StateMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateMachine")
            .field("state", &self.state())
            .field("epoch", &self.epoch)
            .field("probes", &self.probes)
            .field("recovery", &self.recovery)
            .finish_non_exhaustive()
    }
}
