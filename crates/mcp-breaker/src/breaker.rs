//! The breaker: a thin shell that brings clock, locks and observers to the [`Gate`].

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    BreakerBuilder, BreakerEvent, BreakerObserver, Class, Counts, Permit, Rejected, State,
    event_queue::Outbox,
    settings::Settings,
    state::Word,
    state_machine::{Gate, Pass},
    stats::Ledger,
    sync::{AtomicU64, Mutex},
};

/// A circuit breaker. Cheap to clone; clones are the same breaker.
///
/// The simple way is [`call`](Self::call); where call and result are in different places,
/// [`try_acquire`](Self::try_acquire) a permit. `Breaker::default()` has the settings argued at [`BreakerBuilder`].
///
/// Nothing here waits, and no method needs a runtime: the breaker has no task and no timer. What time brings about (the
/// end of the recovery, the release of a hung probe) happens when the next caller asks.
#[derive(Clone)]
pub struct Breaker {
    shared: Arc<Shared>,
}

struct Shared {
    /// State and epoch as last published: see [`Word`]. May be a moment behind the gate, which harms nobody: a permit of
    /// a past epoch moves nothing.
    word: AtomicU64,
    ledger: Arc<Mutex<Ledger>>,
    gate: Mutex<Gate>,
    outbox: Outbox,
    observers: Vec<Box<dyn BreakerObserver>>,
    born: Instant,
    timed: bool,
    slow_after: Option<Duration>,
}

impl Breaker {
    /// A builder with the default settings.
    pub fn builder() -> BreakerBuilder {
        BreakerBuilder::new()
    }

    pub(crate) fn from_valid(settings: Settings, observers: Vec<Box<dyn BreakerObserver>>) -> Self {
        let born = Instant::now();
        let ledger = Arc::new(Mutex::new(Ledger::new(settings.policy(born))));
        let gate = Gate::new(ledger.clone(), settings.recovery, settings.probes, born);
        let shared = Shared {
            word: AtomicU64::new(gate.word().pack()),
            ledger,
            gate: Mutex::new(gate),
            outbox: Outbox::new(),
            observers,
            born,
            timed: settings.timed(),
            slow_after: settings.slow_after(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Asks to make a call.
    ///
    /// # Errors
    /// [`Rejected`] if the breaker is open, forced open, or half-open with every probe out.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        let Word { state, epoch } = self.word();
        let pass = if state.passes_all() {
            Pass {
                epoch,
                probe: None,
                counts: state != State::Disabled,
            }
        } else {
            self.admit()?
        };
        let started = self.shared.slow_after.map(|_| Instant::now());
        Ok(Permit::new(self.clone(), pass, started))
    }

    /// The state. An open breaker whose recovery time is over is [`Open`](State::Open) until somebody asks for a permit.
    pub fn state(&self) -> State {
        self.word().state
    }

    /// What is left of the recovery time: zero if it is over and the next caller will be a probe, `None` unless the
    /// state is [`Open`](State::Open). Changes nothing.
    pub fn retry_after(&self) -> Option<Duration> {
        let now = Instant::now();
        self.shared.gate.lock().retry_after(now)
    }

    /// The totals and the window. Changes nothing.
    pub fn counts(&self) -> Counts {
        let now = Instant::now();
        let gate = self.shared.gate.lock();
        let ledger = self.shared.ledger.lock();
        Counts {
            calls: ledger.totals.successes + ledger.totals.faults + ledger.totals.ignored,
            successes: ledger.totals.successes,
            faults: ledger.totals.faults,
            ignored: ledger.totals.ignored,
            slow: ledger.totals.slow,
            late: ledger.totals.late,
            rejected: gate.totals.rejected,
            times_opened: gate.totals.times_opened,
            probes_released: gate.totals.probes_released,
            consecutive_faults: ledger.policy.consecutive_faults(),
            probes_out: gate.probes().out(),
            probe_successes: gate.probes().successes(),
            window: ledger.policy.window(now),
        }
    }

    /// Refuses every call until told otherwise.
    pub fn force_open(&self) {
        self.order(Some(State::ForcedOpen));
    }

    /// Lets every call through until told otherwise. Results are counted.
    pub fn force_closed(&self) {
        self.order(Some(State::ForcedClosed));
    }

    /// Lets every call through and leaves no trace of it, until told otherwise.
    pub fn disable(&self) {
        self.order(Some(State::Disabled));
    }

    /// Lets every call through, judges the results and only reports what would have opened the breaker, until told
    /// otherwise. For trying settings out on live traffic.
    pub fn metrics_only(&self) {
        self.order(Some(State::MetricsOnly));
    }

    /// Closes and starts afresh: window, row of faults and growth of the recovery time are forgotten, and calls under way
    /// move nothing when they end. The totals stay.
    pub fn reset(&self) {
        self.order(None);
    }

    #[inline]
    pub(crate) fn settle(&self, pass: Pass, started: Option<Instant>, class: Class) {
        let plain = pass.counts && pass.probe.is_none() && started.is_none();
        if plain && class == Class::Success {
            // Without a window nothing asks when a success was.
            let at = if self.shared.timed {
                Instant::now()
            } else {
                self.shared.born
            };
            self.shared.ledger.lock().succeed(pass.epoch, at);
        } else if pass.counts {
            self.settle_with_care(pass, started, class);
        }
    }

    pub(crate) fn settle_timed_out(&self, pass: Pass) {
        if pass.counts {
            let now = Instant::now();
            self.with_gate(|gate| gate.settle_timed_out(pass, now));
        }
    }

    fn settle_with_care(&self, pass: Pass, started: Option<Instant>, class: Class) {
        let shared = &*self.shared;
        let now = Instant::now();
        let took = started.map(|started| now.saturating_duration_since(started));
        let slow = class != Class::Ignored
            && took
                .zip(shared.slow_after)
                .is_some_and(|(took, limit)| took >= limit);
        if pass.probe.is_some() || class == Class::Fault || slow {
            return self.with_gate(|gate| gate.settle(pass, class, slow, now));
        }
        // Neither a success in time nor an ignored result can move the state.
        let mut ledger = shared.ledger.lock();
        match class {
            Class::Success => ledger.succeed(pass.epoch, now),
            Class::Fault | Class::Ignored => {
                ledger.enter(pass.epoch, class, false);
            }
        }
    }

    #[inline]
    fn word(&self) -> Word {
        Word::unpack(self.shared.word.load(Ordering::Acquire))
    }

    #[cold]
    fn admit(&self) -> Result<Pass, Rejected> {
        let now = Instant::now();
        self.with_gate(|gate| gate.admit(now))
            .inspect_err(|rejected| {
                let event = BreakerEvent::Rejected(*rejected);
                for observer in &self.shared.observers {
                    observer.on_event(&event);
                }
            })
    }

    fn order(&self, order: Option<State>) {
        let now = Instant::now();
        self.with_gate(|gate| gate.order(order, now));
    }

    /// Runs `change` under the lock, then publishes what it did.
    fn with_gate<R>(&self, change: impl FnOnce(&mut Gate) -> R) -> R {
        let shared = &*self.shared;
        let mut gate = shared.gate.lock();
        let answer = change(&mut gate);
        let word = gate.word().pack();
        if shared.word.load(Ordering::Relaxed) != word {
            shared.word.store(word, Ordering::Release);
        }
        if gate.news.is_empty() {
            return answer;
        }
        if shared.observers.is_empty() {
            gate.news.clear();
            return answer;
        }
        shared.outbox.push(&mut gate.news);
        drop(gate);
        shared.outbox.deliver(&shared.observers);
        answer
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self::from_valid(Settings::default(), Vec::new())
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("state", &self.state())
            .field("retry_after", &self.retry_after())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
