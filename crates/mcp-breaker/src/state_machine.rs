//! The gate before failsafe's machine: who may pass, and which results the machine hears of.
//!
//! failsafe's machine decides on closed, open and half-open. What it leaves open is decided here: that half-open admits
//! a few probes instead of everybody; that it takes N successes to close, so that the machine hears only of the Nth;
//! that a result counts only in the epoch its permit was given in; how long to stay open, on tokio's clock; and the
//! states a breaker is put into.
//!
//! The gate is a plain state machine: it does no I/O, reads no clock, calls nobody, and is changed under one lock. What
//! happened is left in `news` for the [`Breaker`](crate::Breaker) to publish.

mod probes;

use std::{sync::Arc, time::Duration};

use failsafe::{FailurePolicy as _, StateMachine};
use tokio::time::Instant;

use crate::{
    BreakerEvent, Class, Reason, Rejected, State,
    mirror::Mirror,
    policy::Note,
    recovery::{Recovery, RecoverySettings},
    state::Word,
    stats::{Judge, Ledger},
    sync::Mutex,
};
use probes::Probes;
pub(crate) use probes::{ProbeId, ProbeLimits};

pub(crate) struct Gate {
    machine: StateMachine<Judge, Mirror>,
    mirror: Mirror,
    ledger: Arc<Mutex<Ledger>>,
    recovery: Recovery,
    probes: Probes,
    /// The state it was put into, if it was; the machine then stands still.
    order: Option<State>,
    epoch: u64,
    open_until: Instant,
    pub(crate) totals: GateTotals,
    pub(crate) news: Vec<BreakerEvent>,
}

/// What only the gate can count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GateTotals {
    pub(crate) rejected: u64,
    pub(crate) times_opened: u64,
    pub(crate) probes_released: u64,
}

/// What a permit remembers of how it was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass {
    pub(crate) epoch: u64,
    pub(crate) probe: Option<ProbeId>,
    /// False while the breaker is disabled: the permit leaves no trace.
    pub(crate) counts: bool,
}

/// Whether the policies keep what they know into a new epoch.
#[derive(Clone, Copy, Debug)]
enum Policies {
    GoOn,
    Afresh,
}

impl Gate {
    pub(crate) fn new(
        ledger: Arc<Mutex<Ledger>>,
        recovery: RecoverySettings,
        probes: ProbeLimits,
        now: Instant,
    ) -> Self {
        let mirror = Mirror::default();
        Self {
            machine: StateMachine::new(Judge(ledger.clone()), mirror.clone()),
            mirror,
            ledger,
            recovery: Recovery::new(recovery),
            probes: Probes::new(probes),
            order: None,
            epoch: 0,
            open_until: now,
            totals: GateTotals::default(),
            news: Vec::new(),
        }
    }

    /// Asks to pass.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Pass, Rejected> {
        if self.state() == State::Open && now >= self.open_until {
            self.half_open();
        }
        match self.state() {
            State::HalfOpen => {
                while self.probes.release_hung(now) {
                    self.totals.probes_released += 1;
                    self.news.push(BreakerEvent::ProbeReleased {
                        still_out: self.probes.out(),
                    });
                }
                match self.probes.send(now) {
                    Some(id) => Ok(Pass {
                        epoch: self.epoch,
                        probe: Some(id),
                        counts: true,
                    }),
                    None => Err(self.refuse(None)),
                }
            }
            State::Open => Err(self.refuse(Some(self.open_until.saturating_duration_since(now)))),
            State::ForcedOpen => Err(self.refuse(None)),
            state
            @ (State::Closed | State::ForcedClosed | State::Disabled | State::MetricsOnly) => {
                Ok(Pass {
                    epoch: self.epoch,
                    probe: None,
                    counts: state != State::Disabled,
                })
            }
        }
    }

    /// Takes a result that may move the state: of a probe, a fault, or slow.
    pub(crate) fn settle(&mut self, pass: Pass, class: Class, slow: bool, now: Instant) {
        let note = Note {
            at: now,
            fault: class == Class::Fault,
            slow,
            in_rates: true,
        };
        self.settle_noted(pass, class, note);
    }

    /// Takes the result of a call that got no answer in time. It is a fault of a row, and no part of the rates.
    pub(crate) fn settle_timed_out(&mut self, pass: Pass, now: Instant) {
        let note = Note {
            at: now,
            fault: true,
            slow: false,
            in_rates: false,
        };
        self.settle_noted(pass, Class::Fault, note);
    }

    fn settle_noted(&mut self, pass: Pass, class: Class, note: Note) {
        let (slow, now) = (note.slow, note.at);
        if !self.ledger.lock().enter(pass.epoch, class, slow) {
            return;
        }
        match (self.state(), pass.probe) {
            (State::HalfOpen, Some(id)) => self.settle_probe(id, class, slow, now),
            (State::Closed, None) => self.judge(note),
            (State::ForcedClosed | State::MetricsOnly, None) => self.rehearse(note),
            _ => {}
        }
    }

    /// Puts the breaker into a state of its own choosing (`None`: closed) and forgets what led here.
    pub(crate) fn order(&mut self, order: Option<State>, now: Instant) {
        let from = self.state();
        self.machine = StateMachine::new(Judge(self.ledger.clone()), self.mirror.clone());
        self.recovery.reset();
        self.order = order;
        self.open_until = now;
        // Even where the state stays: results from before a reset must not move what begins after it.
        self.turn_epoch(Policies::Afresh);
        if from != self.state() {
            let reason = if order.is_some() {
                Reason::Ordered
            } else {
                Reason::Reset
            };
            self.tell(from, reason, None);
        }
    }

    pub(crate) fn state(&self) -> State {
        self.order.unwrap_or_else(|| self.mirror.state())
    }

    pub(crate) fn word(&self) -> Word {
        Word {
            state: self.state(),
            epoch: self.epoch,
        }
    }

    pub(crate) fn probes(&self) -> &Probes {
        &self.probes
    }

    /// What is left of the recovery time; `None` unless open.
    pub(crate) fn retry_after(&self, now: Instant) -> Option<Duration> {
        (self.state() == State::Open).then(|| self.open_until.saturating_duration_since(now))
    }

    /// A fault or slow call, closed: the machine asks the policies and may open.
    fn judge(&mut self, note: Note) {
        let now = note.at;
        self.ledger.lock().note = Some(note);
        self.machine.on_error();
        if self.mirror.state() == State::Open {
            let reason = self
                .ledger
                .lock()
                .policy
                .reason()
                .expect("a policy that trips has a reason");
            let recovery = self.recovery.tripped(now);
            self.opened(State::Closed, reason, recovery, now);
        }
    }

    /// A fault or slow call where nothing trips: the policies are asked all the same, for the books and the rehearsal.
    fn rehearse(&mut self, note: Note) {
        let mut ledger = self.ledger.lock();
        ledger.policy.note(note);
        ledger.policy.mark_dead_on_failure();
        if self.order == Some(State::MetricsOnly)
            && let Some(reason) = ledger.policy.reason()
        {
            ledger.policy.revived();
            self.news.push(BreakerEvent::WouldOpen { reason });
        }
    }

    fn settle_probe(&mut self, id: ProbeId, class: Class, slow: bool, now: Instant) {
        if !self.probes.give_back(id) {
            self.ledger.lock().totals.late += 1;
            return;
        }
        match class {
            Class::Ignored => {}
            // A slow success is no proof where slowness trips: to close on it would be to trip again at once.
            Class::Success if !slow => {
                if self.probes.succeed() {
                    self.machine.on_success();
                    self.recovery.closed(now);
                    let reason = Reason::ProbesSucceeded {
                        count: self.probes.successes(),
                    };
                    self.turn_epoch(Policies::GoOn);
                    self.tell(State::HalfOpen, reason, None);
                }
            }
            Class::Success | Class::Fault => {
                self.machine.on_error();
                let reason = if class == Class::Fault {
                    Reason::ProbeFault
                } else {
                    Reason::ProbeSlow
                };
                let recovery = self.recovery.reopened();
                self.opened(State::HalfOpen, reason, recovery, now);
            }
        }
    }

    fn opened(&mut self, from: State, reason: Reason, recovery: Duration, now: Instant) {
        self.totals.times_opened += 1;
        self.open_until = now + recovery;
        self.turn_epoch(Policies::GoOn);
        self.tell(from, reason, Some(recovery));
    }

    /// Has the machine go half-open. Its own delay is zero and ends as soon as the system's clock shows another time than
    /// at the trip: long ago, unless time is virtual. Should that clock stand still, the breaker stays open until asked
    /// again.
    fn half_open(&mut self) {
        if (0..CLOCK_TICKS).any(|_| self.machine.is_call_permitted()) {
            self.turn_epoch(Policies::GoOn);
            self.tell(State::Open, Reason::RecoveryOver, None);
        }
    }

    fn refuse(&mut self, retry_after: Option<Duration>) -> Rejected {
        self.totals.rejected += 1;
        Rejected {
            retry_after: retry_after.filter(|after| !after.is_zero()),
            state: self.state(),
        }
    }

    /// Begins a new epoch: permits given until now can move nothing any more.
    fn turn_epoch(&mut self, policies: Policies) {
        self.epoch += 1;
        self.probes.clear();
        let mut ledger = self.ledger.lock();
        ledger.epoch = self.epoch;
        ledger.judging = self.state() != State::HalfOpen;
        if matches!(policies, Policies::Afresh) {
            // In the same breath: a success of the old epoch must not slip in between.
            ledger.policy.revived();
        }
    }

    fn tell(&mut self, from: State, reason: Reason, retry_after: Option<Duration>) {
        self.news.push(BreakerEvent::Transition {
            from,
            to: self.state(),
            reason,
            retry_after,
        });
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("state", &self.state())
            .field("epoch", &self.epoch)
            .field("probes", &self.probes)
            .field("recovery", &self.recovery)
            .finish_non_exhaustive()
    }
}

/// Readings of the system's clock, at tens of nanoseconds each: far more than the coarsest of them needs to move on.
const CLOCK_TICKS: u32 = 10_000;
