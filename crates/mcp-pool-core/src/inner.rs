//! The state of a pool under its lock, and the execution of what its router decides.
//!
//! There is one lock. It is held for the length of a decision and never across an await, a wake-up or an observer.
//! Answers to waiting callers are stored under the lock; every other action is carried out after it is released.

mod member;
mod probe;
mod refused;
mod tasks;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
pub(crate) use tasks::{MaintenanceGuard, TaskFns};
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Span;

use crate::{
    backoff::Backoff,
    budget::{Budget, Demand, Eviction},
    connect::{Connector, Handshake},
    deadline,
    error::{AcquireError, OpenError, OpenErrorKind, Phase},
    event::{PoolEvent, PoolObserver},
    lifecycle::{CloseReason, SessionLifecycle},
    options::PoolOptions,
    router::{Action, Claim, Refusal, Router, SessionKey},
    runtime::CurrentRuntime,
    session::Session,
    slots::Slots,
    waiters::{WaiterId, Waiters, Wakers},
};

/// A caller in line.
pub(crate) struct Waiter {
    pub(crate) id: WaiterId,
    pub(crate) since: Instant,
    /// What it was doing when it came.
    pub(crate) span: Span,
}

/// Everything under the lock.
pub(crate) struct State {
    pub(crate) router: Router<Arc<Session>, Waiter>,
    pub(crate) waiters: Waiters,
    pub(crate) counts: Counts,
    pub(crate) backoff: Backoff,
    /// The last failure to open, until an opening succeeds.
    pub(crate) failure: Option<Arc<OpenError>>,
    /// No openings before this moment.
    pub(crate) backing_off_until: Option<Instant>,
    /// Openings under way.
    pub(crate) initializing: Vec<SessionLifecycle>,
    pub(crate) maintaining: bool,
    pub(crate) runtime: CurrentRuntime,
    /// Suspect sessions whose probes went with their runtime.
    pub(crate) lost_probes: Vec<SessionKey>,
    /// A session that another pool is to have the place of.
    pub(crate) promised: Option<Promised>,
    /// Promises made so far.
    pub(crate) promises: u64,
}

/// See [`Member::owe`](crate::budget::Member::owe).
pub(crate) struct Promised {
    pub(crate) number: u64,
    pub(crate) eviction: Eviction,
}

/// What has happened since the pool was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) refused: u64,
    pub(crate) opened: u64,
    pub(crate) closed: BTreeMap<CloseReason, u64>,
    pub(crate) errors: BTreeMap<&'static str, u64>,
    /// Of sessions that have ended; those of the living are asked of them.
    pub(crate) reinitialized: u64,
}

pub(crate) struct Inner {
    pub(crate) name: Arc<str>,
    pub(crate) options: Mutex<Arc<PoolOptions>>,
    /// Whether sessions belong to scopes, which never changes.
    pub(crate) pinned: bool,
    /// Whether a session carries one call at a time.
    pub(crate) exclusive: AtomicBool,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) handshake: Handshake,
    pub(crate) slots: Slots,
    pub(crate) budget: Budget,
    pub(crate) demand: Demand,
    /// Openings that wait for a place of the budget.
    pub(crate) awaiting_place: AtomicU32,
    pub(crate) observer: Option<Arc<dyn PoolObserver>>,
    pub(crate) observer_panicked: AtomicBool,
    pub(crate) state: Mutex<State>,
    pub(crate) task_fns: TaskFns,
    pub(crate) tasks: TaskTracker,
    /// No more openings.
    pub(crate) closing: CancellationToken,
    /// The pool closes without a time limit for leases.
    pub(crate) unlimited_grace: AtomicBool,
    /// A call has been answered since a session last died without having served.
    pub(crate) answered: AtomicBool,
    /// Something that maintenance depends on has changed.
    pub(crate) changed: Notify,
    pub(crate) this: Weak<Inner>,
}

impl Inner {
    pub(crate) fn options(&self) -> Arc<PoolOptions> {
        Arc::clone(&self.options.lock())
    }

    pub(crate) fn emit(&self, event: impl FnOnce() -> PoolEvent) {
        if let Some(observer) = &self.observer {
            let event = event();
            // A panic here would leave the pool's accounts wrong, or unwind through a caller.
            let result = catch_unwind(AssertUnwindSafe(|| observer.on_event(&event)));
            if result.is_err() && !self.observer_panicked.swap(true, Ordering::Relaxed) {
                tracing::error!(server = %self.name, "the pool's observer panicked; later panics are not logged");
            }
        }
    }

    /// Lets the router decide, and carries out what it wants.
    pub(crate) fn decide<T>(&self, decision: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = decision(&mut state);
        self.carry_out(state);
        result
    }

    pub(crate) fn carry_out(&self, mut state: MutexGuard<'_, State>) {
        if !state.router.has_actions() {
            return;
        }
        // A place handed on, the common case, allocates nothing here.
        let mut wakers = Wakers::default();
        let (mut refused, mut openings, mut closings) = (Vec::new(), Vec::new(), Vec::new());
        let State {
            router,
            waiters,
            promised,
            ..
        } = &mut *state;
        for action in router.drain_actions() {
            match action {
                Action::Serve { waiter, grant } => {
                    wakers.add(waiters.answer(waiter.id, Ok(grant)));
                }
                Action::Refuse { waiter, refusal } => refused.push((waiter, refusal)),
                Action::Yield { session } => {
                    if let Some(promised) = promised.take() {
                        session.make_room(promised.eviction);
                    }
                }
                Action::Open { scope } => openings.push((scope, Span::none())),
                Action::Close { session, reason } => closings.push((session, reason)),
            }
        }
        if !refused.is_empty() {
            let refusal_context = state.refusal_context();
            for (waiter, refusal) in refused {
                let answer = Err(refusal_context.explain(refusal));
                wakers.add(state.waiters.answer(waiter.id, answer));
            }
        }
        for (scope, cause) in &mut openings {
            // The caller that has waited longest is served first. Without one, the opening is ahead of demand.
            if let Some(first) = state.router.first_in_queue(*scope) {
                *cause = first.span.clone();
            }
        }
        let runtime = (!openings.is_empty())
            .then(|| state.runtime.get().cloned())
            .flatten();
        drop(state);
        wakers.wake();
        for (session, reason) in closings {
            session.dismiss(reason);
        }
        for (scope, cause) in openings {
            let Some(this) = self.this.upgrade() else {
                return;
            };
            // Dropped where there is no runtime; the opening is given back then.
            let generation = runtime.as_ref().map_or(0, |runtime| runtime.generation);
            let opening = (self.task_fns.open)(this, scope, generation, cause);
            self.spawn(runtime.as_ref(), opening);
        }
    }

    pub(crate) fn release(&self, key: SessionKey, claim: Claim, session: &Session) {
        let mut state = self.state.lock();
        let rests = state.router.release(key, claim);
        if rests {
            session.used();
        }
        self.carry_out(state);
        if rests {
            self.budget.rested();
        }
    }

    /// The server has answered a call.
    pub(crate) fn answered(&self, session: &Session) {
        session.answered();
        // Nearly always it is set already, and read-only memory is shared by all cores.
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Pauses openings after a failure.
    pub(crate) fn back_off(&self, state: &mut State, cause: Arc<OpenError>, pause: Duration) {
        let until = state
            .backing_off_until
            .max(Some(deadline::after(pause)))
            .expect("the larger of two of which one is there");
        state.failure = Some(cause);
        state.router.set_gate(false);
        if state.backing_off_until.replace(until) == Some(until) {
            return;
        }
        if let Some(this) = self.this.upgrade() {
            let wait = async move {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    // Whatever the cause was: an opening that waits for a consent may run out of time.
                    () = this.connector.credentials_changed() => {}
                    () = this.closing.cancelled() => return,
                }
                this.decide(|state| {
                    // A later failure may have prolonged the pause.
                    if state.backing_off_until == Some(until) {
                        state.end_pause();
                    }
                });
            };
            self.spawn(state.runtime.get(), wait);
        }
    }

    /// Refuses all callers. Sessions close as their leases come back.
    pub(crate) fn begin_close(&self) {
        self.closing.cancel();
        self.decide(|state| {
            state.router.close();
        });
        self.tasks.close();
        self.changed.notify_one();
    }

    /// Closes what is left under its leases.
    pub(crate) fn force_close(&self) {
        self.decide(|state| {
            let keys: Vec<_> = state.router.sessions().map(|(key, ..)| key).collect();
            for key in keys {
                state.router.broke(key, CloseReason::Shutdown);
            }
        });
    }
}

/// What the error of a refused caller says.
pub(crate) struct RefusalContext {
    failure: Option<Arc<OpenError>>,
    retry_after: Option<Duration>,
    waiters: usize,
}

impl RefusalContext {
    pub(crate) fn explain(&self, refusal: Refusal) -> AcquireError {
        match refusal {
            Refusal::Closed => AcquireError::Closed,
            Refusal::StateLost(reason) => AcquireError::StateLost { reason },
            Refusal::QueueFull => AcquireError::Exhausted {
                waiters: self.waiters,
            },
            Refusal::OpenFailed => AcquireError::Open {
                cause: self.failure.clone().unwrap_or_else(|| {
                    let message = "the opening was given up";
                    Arc::new(OpenError::new(
                        OpenErrorKind::Internal,
                        Phase::Open,
                        message,
                    ))
                }),
                retry_after: self.retry_after,
            },
        }
    }
}

impl State {
    /// Whether the key names this session, and not a later one.
    pub(crate) fn names(&self, key: SessionKey, session: &Session) -> bool {
        let current = self.router.session(key);
        current.is_some_and(|current| current.id() == session.id())
    }

    pub(crate) fn refusal_context(&self) -> RefusalContext {
        RefusalContext {
            failure: self.failure.clone(),
            retry_after: self.retry_after(),
            waiters: self.router.waiters(),
        }
    }

    /// The timer that ends a pause may have gone with its runtime.
    pub(crate) fn end_pause_if_over(&mut self) {
        if self
            .backing_off_until
            .is_some_and(|until| Instant::now() >= until)
        {
            self.end_pause();
        }
    }

    pub(crate) fn end_pause(&mut self) {
        self.backing_off_until = None;
        self.router.set_gate(true);
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.backing_off_until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
    }
}

impl Counts {
    pub(crate) fn served(&mut self, hit: bool) {
        if hit {
            self.hits += 1;
        } else {
            self.misses += 1;
        }
    }

    pub(crate) fn error(&mut self, phase: Phase) {
        *self.errors.entry(phase.as_str()).or_default() += 1;
    }
}
