//! The breaker: clock, locks and observers around the [`StateMachine`].

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    BreakerBuilder, BreakerEvent, BreakerObserver, Class, Counts, Permit, Rejected, State,
    event_queue::EventQueue,
    settings::{LONGEST, Settings},
    state::Snapshot,
    state_machine::{Admission, StateMachine},
    stats::Stats,
    sync::{AtomicU64, Mutex},
};

/// A circuit breaker. It is cheap to clone, and clones are the same breaker.
///
/// The simple way is [`call`](Self::call); where call and result are in different places,
/// [`try_acquire`](Self::try_acquire) a permit. `Breaker::default()` has the settings argued at [`BreakerBuilder`].
///
/// No method waits or needs a runtime: the breaker has no task and no timer. The end of the recovery time and the release
/// of a hung probe take effect at the next request for a permit.
#[derive(Clone)]
pub struct Breaker {
    shared: Arc<Shared>,
}

struct Shared {
    /// The [`Snapshot`] published last. It may lag behind the state machine, which is safe: a permit of a past epoch has
    /// no effect.
    snapshot: AtomicU64,
    stats: Arc<Mutex<Stats>>,
    machine: Mutex<StateMachine>,
    events: EventQueue,
    observers: Vec<Box<dyn BreakerObserver>>,
    created: Instant,
    timed: bool,
    slow_after: Option<Duration>,
}

impl Breaker {
    /// A builder with the default settings.
    pub fn builder() -> BreakerBuilder {
        BreakerBuilder::new()
    }

    pub(crate) fn from_valid(settings: Settings, observers: Vec<Box<dyn BreakerObserver>>) -> Self {
        let created = Instant::now();
        let stats = Arc::new(Mutex::new(Stats::new(settings.policy(created))));
        let machine = StateMachine::new(stats.clone(), settings.recovery, settings.probes, created);
        let shared = Shared {
            snapshot: AtomicU64::new(machine.snapshot().pack()),
            stats,
            machine: Mutex::new(machine),
            events: EventQueue::new(),
            observers,
            created,
            timed: settings.timed(),
            slow_after: settings.slow_after(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Requests a permit to make a call.
    ///
    /// # Errors
    /// [`Rejected`] if the breaker is open, forced open, or half-open with every probe out.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        self.try_acquire_for(Duration::ZERO)
    }

    /// Requests a permit to make a call that may take so long: if the call is a probe and that is longer than the
    /// [`probe_limit`](BreakerBuilder::probe_limit), its result counts until then.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_for(&self, takes: Duration) -> Result<Permit, Rejected> {
        let Snapshot { state, epoch } = self.snapshot();
        let admission = if state.passes_all() {
            Admission {
                epoch,
                probe: None,
                counts: state != State::Disabled,
            }
        } else {
            self.admit(takes)?
        };
        let started = self.shared.slow_after.map(|_| Instant::now());
        Ok(Permit::new(self.clone(), admission, started))
    }

    /// The state. An open breaker whose recovery time is over stays [`Open`](State::Open) until the next request for a permit.
    pub fn state(&self) -> State {
        self.snapshot().state
    }

    /// The rest of the recovery time: zero if it is over and the next call is a probe, `None` unless the state is
    /// [`Open`](State::Open). Reading it changes nothing.
    pub fn retry_after(&self) -> Option<Duration> {
        let now = Instant::now();
        self.shared.machine.lock().retry_after(now)
    }

    /// The totals and the window. Reading them changes nothing.
    pub fn counts(&self) -> Counts {
        let now = Instant::now();
        let machine = self.shared.machine.lock();
        let (probes_out, probe_successes) = machine.probe_counts();
        let stats = self.shared.stats.lock();
        Counts {
            calls: stats.totals.successes + stats.totals.faults + stats.totals.ignored,
            successes: stats.totals.successes,
            faults: stats.totals.faults,
            ignored: stats.totals.ignored,
            slow: stats.totals.slow,
            late: stats.totals.late,
            rejected: machine.totals.rejected,
            times_opened: machine.totals.times_opened,
            probes_released: machine.totals.probes_released,
            consecutive_faults: stats.policy.consecutive_faults(),
            probes_out,
            probe_successes,
            window: stats.policy.window(now),
        }
    }

    /// Rejects every call until the state is changed by hand.
    pub fn force_open(&self) {
        self.force(Some(State::ForcedOpen));
    }

    /// Admits every call until the state is changed by hand. Results are counted.
    pub fn force_closed(&self) {
        self.force(Some(State::ForcedClosed));
    }

    /// Admits every call and records nothing, until the state is changed by hand.
    pub fn disable(&self) {
        self.force(Some(State::Disabled));
    }

    /// Admits every call and only reports what would have opened the breaker, until the state is changed by hand. For
    /// trying out settings on live traffic.
    pub fn metrics_only(&self) {
        self.force(Some(State::MetricsOnly));
    }

    /// Closes and forgets the window, the consecutive faults and the growth of the recovery time. Calls in flight have no
    /// effect when they end. The totals stay.
    pub fn reset(&self) {
        self.force(None);
    }

    #[inline]
    pub(crate) fn record(&self, admission: Admission, started: Option<Instant>, class: Class) {
        let plain = admission.counts && admission.probe.is_none() && started.is_none();
        if plain && class == Class::Success {
            // Without a window the time of a success does not matter.
            let at = if self.shared.timed {
                Instant::now()
            } else {
                self.shared.created
            };
            self.shared.stats.lock().success(admission.epoch, at);
        } else if admission.counts {
            self.record_slow_path(admission, started, class);
        }
    }

    pub(crate) fn record_timeout(&self, admission: Admission) {
        if admission.counts {
            let now = Instant::now();
            self.change(|machine| machine.record_timeout(admission, now));
        }
    }

    fn record_slow_path(&self, admission: Admission, started: Option<Instant>, class: Class) {
        let shared = &*self.shared;
        let now = Instant::now();
        let took = started.map(|started| now.saturating_duration_since(started));
        let slow = class != Class::Ignored
            && took
                .zip(shared.slow_after)
                .is_some_and(|(took, limit)| took >= limit);
        if admission.probe.is_some() || class == Class::Fault || slow {
            return self.change(|machine| machine.record(admission, class, slow, now));
        }
        // Neither a success in time nor an ignored result can move the state.
        let mut stats = shared.stats.lock();
        match class {
            Class::Success => stats.success(admission.epoch, now),
            Class::Fault | Class::Ignored => {
                stats.count(admission.epoch, class, false);
            }
        }
    }

    #[inline]
    fn snapshot(&self) -> Snapshot {
        Snapshot::unpack(self.shared.snapshot.load(Ordering::Acquire))
    }

    #[cold]
    fn admit(&self, takes: Duration) -> Result<Admission, Rejected> {
        let (now, takes) = (Instant::now(), takes.min(LONGEST));
        self.change(|machine| machine.admit(now, takes))
            .inspect_err(|rejected| {
                let event = BreakerEvent::Rejected(*rejected);
                for observer in &self.shared.observers {
                    observer.on_event(&event);
                }
            })
    }

    fn force(&self, state: Option<State>) {
        let now = Instant::now();
        self.change(|machine| machine.force(state, now));
    }

    /// Changes the state machine under its lock, then publishes its snapshot and events.
    fn change<R>(&self, change: impl FnOnce(&mut StateMachine) -> R) -> R {
        let shared = &*self.shared;
        let mut machine = shared.machine.lock();
        let answer = change(&mut machine);
        let snapshot = machine.snapshot().pack();
        if shared.snapshot.load(Ordering::Relaxed) != snapshot {
            shared.snapshot.store(snapshot, Ordering::Release);
        }
        if machine.events.is_empty() {
            return answer;
        }
        if shared.observers.is_empty() {
            machine.events.clear();
            return answer;
        }
        shared.events.push(&mut machine.events);
        drop(machine);
        shared.events.deliver(&shared.observers);
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
