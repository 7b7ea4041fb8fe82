//! The pool as its users see it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backoff::Backoff,
    budget::Budget,
    connect::{Connector, Handshake},
    error::{AcquireError, Phase},
    event::{CloseReason, PoolEvent, PoolObserver},
    lease::{Lease, PinnedSession},
    opener::OpeningJournal,
    options::{InvalidOptions, PoolOptions, Sharing},
    router::{Answer, Claim, Refusal, Router, ScopeId, Stage, Ticket},
    session::{Session, SessionId},
    shared::{Counts, Shared, State, Waiter},
    slots::{Opening, Slots},
    status::{Connections, PoolStatus, SessionStatus},
};

/// A pool of live MCP sessions to one server, with one identity.
///
/// Cheap to clone. Nothing is opened before the first use. Dropping the last clone closes the pool in the
/// background; [`SessionPool::close`] does so and waits.
#[derive(Clone)]
pub struct SessionPool(Arc<LastHandle>);

struct LastHandle(Arc<Shared>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.0.begin_close();
    }
}

/// Makes a [`SessionPool`].
pub struct PoolBuilder {
    name: Arc<str>,
    connector: Arc<dyn Connector>,
    handshake: Handshake,
    options: PoolOptions,
    observer: Option<Arc<dyn PoolObserver>>,
    budget: Option<Budget>,
}

impl PoolBuilder {
    /// The settings. Default: [`PoolOptions::default`].
    #[must_use]
    pub fn options(mut self, options: PoolOptions) -> Self {
        self.options = options;
        self
    }

    /// How sessions introduce themselves. Default: whichever way the server understands.
    #[must_use]
    pub fn handshake(mut self, handshake: Handshake) -> Self {
        self.handshake = handshake;
        self
    }

    /// Who is told what happens.
    #[must_use]
    pub fn observer(mut self, observer: impl PoolObserver) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Limits shared with other pools. Default: none but the pool's own.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Makes the pool. Opens nothing.
    ///
    /// # Errors
    /// Settings that contradict themselves.
    pub fn build(self) -> Result<SessionPool, InvalidOptions> {
        self.options.validate()?;
        let limits = self.options.limits();
        let size = self.options.max_connections;
        let budget = self
            .budget
            .unwrap_or_else(|| Budget::new(usize::MAX, usize::MAX));
        let options = Arc::new(Mutex::new(Arc::new(self.options)));
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let shared = Arc::new_cyclic(|this| Shared {
            name: self.name,
            slots: Slots::new(
                Opening {
                    connector: self.connector,
                    handshake: self.handshake.in_pool(tasks.clone()),
                    options: Arc::clone(&options),
                    journal: Arc::new(OpeningJournal(this.clone())),
                    closing: closing.clone(),
                },
                size,
            ),
            options,
            budget: budget.clone(),
            observer: self.observer,
            state: Mutex::new(State {
                router: Router::new(limits),
                counts: Counts::default(),
                backoff: Backoff::default(),
                failure: None,
                backing_off_until: None,
                initializing: Vec::new(),
                housekeeping: false,
                suspended: false,
                closed: false,
            }),
            tasks,
            closing,
            changed: Notify::new(),
            this: this.clone(),
        });
        let weak = Arc::downgrade(&shared);
        budget.join(weak);
        Ok(SessionPool(Arc::new(LastHandle(shared))))
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What a probe on request found.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ProbeReport {
    /// The session that was asked.
    pub session: SessionId,
    /// Whether it answered in time. If not, it has been retired.
    pub alive: bool,
    /// How long that took.
    pub took: Duration,
}

/// The owner of a pinned session. Clones are the same scope; it ends with the last of them.
#[derive(Clone)]
pub struct Scope(Arc<ScopeOwner>);

struct ScopeOwner {
    id: ScopeId,
    shared: std::sync::Weak<Shared>,
}

impl Drop for ScopeOwner {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.decide(|state| state.router.end_scope(self.id));
        }
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scope").field(&self.0.id.0).finish()
    }
}

/// A pool, without keeping it open.
#[derive(Clone)]
pub struct WeakSessionPool(std::sync::Weak<LastHandle>);

impl WeakSessionPool {
    /// The pool, if anybody still holds it.
    #[must_use]
    pub fn upgrade(&self) -> Option<SessionPool> {
        self.0.upgrade().map(SessionPool)
    }
}

impl fmt::Debug for WeakSessionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakSessionPool")
    }
}

impl SessionPool {
    /// The pool, for somebody who is not to keep it open.
    #[must_use]
    pub fn downgrade(&self) -> WeakSessionPool {
        WeakSessionPool(Arc::downgrade(&self.0))
    }

    /// Closes every session that is open now as soon as its leases are back. Later callers meet fresh ones.
    pub fn evict_all(&self) {
        self.shared().decide(|state| {
            let keys: Vec<_> = state.router.sessions().map(|(key, ..)| key).collect();
            for key in keys {
                state.router.retire(key, CloseReason::Evicted);
            }
        });
    }

    /// A pool of sessions that `connector` opens. `name` is the server's name in status, log and errors.
    pub fn builder(name: impl Into<Arc<str>>, connector: impl Connector) -> PoolBuilder {
        PoolBuilder {
            name: name.into(),
            connector: Arc::new(connector),
            handshake: Handshake::default(),
            options: PoolOptions::default(),
            observer: None,
            budget: None,
        }
    }

    /// A place on a session, opened if need be.
    ///
    /// In a pinned pool every lease of this is a scope of its own, and its session is closed when it is dropped; see
    /// [`SessionPool::acquire_in`].
    ///
    /// # Errors
    /// [`AcquireError::Open`] with the cause as soon as it is final, [`AcquireError::Timeout`] after
    /// `connection_timeout`, [`AcquireError::Exhausted`], [`AcquireError::Closed`].
    ///
    /// # Cancel safety
    /// May be dropped at any point: a place in line is given up, a place on a session is passed on, and a session
    /// being opened is kept for others.
    pub async fn acquire(&self) -> Result<Lease, AcquireError> {
        self.checkout_alone(Claim::Share).await
    }

    /// A place on the session of a scope, where sessions are pinned; elsewhere the same as
    /// [`SessionPool::acquire`].
    ///
    /// # Errors
    /// As [`SessionPool::acquire`].
    ///
    /// # Cancel safety
    /// As [`SessionPool::acquire`].
    pub async fn acquire_in(&self, scope: &Scope) -> Result<Lease, AcquireError> {
        self.checkout(self.lane(scope), Claim::Share).await
    }

    /// A session for one caller alone, for as long as it is held.
    ///
    /// # Errors
    /// As [`SessionPool::acquire`].
    ///
    /// # Cancel safety
    /// As [`SessionPool::acquire`].
    pub async fn pin(&self) -> Result<PinnedSession, AcquireError> {
        Ok(self.checkout_alone(Claim::Whole).await?.into_pinned())
    }

    /// The session of a scope for one caller alone, where sessions are pinned; elsewhere the same as
    /// [`SessionPool::pin`].
    ///
    /// # Errors
    /// As [`SessionPool::acquire`].
    ///
    /// # Cancel safety
    /// As [`SessionPool::acquire`].
    pub async fn pin_in(&self, scope: &Scope) -> Result<PinnedSession, AcquireError> {
        Ok(self
            .checkout(self.lane(scope), Claim::Whole)
            .await?
            .into_pinned())
    }

    /// A new scope of this pool.
    #[must_use]
    pub fn scope(&self) -> Scope {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = ScopeId(NEXT.fetch_add(1, Ordering::Relaxed));
        Scope(Arc::new(ScopeOwner {
            id,
            shared: Arc::downgrade(&self.0.0),
        }))
    }

    /// Asks one session for a sign of life, now, and retires it if none comes. Opens one if none is live.
    ///
    /// # Errors
    /// As [`SessionPool::acquire`].
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn probe(&self) -> Result<ProbeReport, AcquireError> {
        let shared = self.shared();
        let lease = self.acquire().await?;
        let (session, began) = (lease.id(), Instant::now());
        let alive = lease.probe(shared.options().probe_timeout).await.is_ok();
        let took = began.elapsed();
        shared.emit(|| PoolEvent::Probed {
            session,
            alive,
            took,
        });
        if !alive {
            shared.decide(|state| {
                state.counts.error(Phase::Probe);
                state.router.retire(lease.key(), CloseReason::ProbeFailed);
            });
        }
        Ok(ProbeReport {
            session,
            alive,
            took,
        })
    }

    /// Opens sessions up to the minimum now, in the background, and keeps it from here on.
    pub fn warm_up(&self) {
        self.shared().decide(|state| state.router.warm_up());
    }

    /// The settings in force.
    #[must_use]
    pub fn options(&self) -> PoolOptions {
        (*self.shared().options()).clone()
    }

    /// Changes the settings without disturbing a call. Between pinned and the other modes a pool cannot change: make
    /// a new one.
    ///
    /// # Errors
    /// Settings that contradict themselves. Nothing has changed then.
    ///
    /// # Panics
    /// If `sharing` would change from or to [`Sharing::Pinned`].
    pub fn configure(&self, options: PoolOptions) -> Result<(), InvalidOptions> {
        options.validate()?;
        let shared = self.shared();
        let pinned = |sharing| sharing == Sharing::Pinned;
        assert_eq!(
            pinned(options.sharing),
            pinned(shared.options().sharing),
            "a pool cannot change to or from pinned"
        );
        let limits = options.limits();
        shared.slots.resize(options.max_connections);
        *shared.options.lock() = Arc::new(options);
        shared.decide(|state| {
            state.router.configure(limits);
            // What is above the new maximum goes as soon as it is idle.
            let live = state.router.live();
            let surplus = live.saturating_sub(limits.max_connections) as usize;
            for (key, _) in state.router.sessions_by_load().into_iter().take(surplus) {
                state.router.retire(key, CloseReason::Shrunk);
            }
        });
        shared.changed.notify_one();
        Ok(())
    }

    /// Makes callers wait, within their `connection_timeout`. Leases that are out are not disturbed.
    pub fn suspend(&self) {
        self.shared().decide(|state| {
            state.suspended = true;
            state.router.suspend();
        });
    }

    /// Serves callers again.
    pub fn resume(&self) {
        self.shared().decide(|state| {
            state.suspended = false;
            state.router.resume();
        });
    }

    /// Closes one session as soon as its leases are back. `false` if there is none of this name.
    pub fn evict(&self, session: SessionId) -> bool {
        self.shared().decide(|state| {
            let found = state
                .router
                .sessions()
                .find(|(_, s, ..)| s.id() == session)
                .map(|(key, ..)| key);
            if let Some(key) = found {
                state.router.retire(key, CloseReason::Evicted);
            }
            found.is_some()
        })
    }

    /// Replaces all sessions without failing a call: each closes when its leases are back. Returns when all that
    /// were open have ended.
    ///
    /// # Cancel safety
    /// May be dropped at any point; the sessions are closed all the same.
    pub async fn drain(&self) {
        let sessions = self.sessions();
        for session in &sessions {
            self.evict(session.id());
        }
        for session in sessions {
            session.buried().await;
        }
    }

    /// Closes the pool: no more callers, calls in flight may finish within `shutdown_grace`, then all sessions are
    /// closed at once, each within a few seconds. Afterwards no process, task or connection of the pool is left.
    ///
    /// # Cancel safety
    /// May be dropped at any point; the pool is closed in the background all the same. May be called again.
    pub async fn close(&self) {
        /// No session takes longer to bury: two steps of patience, and the wait after SIGKILL.
        const BURIAL: Duration = Duration::from_secs(6);
        let shared = self.shared();
        shared.begin_close();
        let limit = shared.options().shutdown_grace + BURIAL;
        if timeout(limit, shared.tasks.wait()).await.is_err() {
            tracing::error!(server = %shared.name, "some sessions could not be closed within {limit:?}");
        }
    }

    /// The sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.shared()
            .state
            .lock()
            .router
            .sessions()
            .map(|(_, session, ..)| Arc::clone(session))
            .collect()
    }

    /// The pool at this moment.
    #[must_use]
    pub fn status(&self) -> PoolStatus {
        let shared = self.shared();
        let sharing = shared.options().sharing;
        let state = shared.state.lock();
        let limits = state.router.limits();
        let mut connections = Connections {
            connecting: state.router.opening(),
            min: limits.min_connections,
            max: limits.max_connections,
            ..Connections::default()
        };
        let mut sessions = Vec::new();
        let mut reinitialized = state.counts.reinitialized;
        for (_, session, stage, load) in state.router.sessions() {
            match (stage, load) {
                (Stage::Closing, _) => connections.closing += 1,
                (_, 0) => connections.idle += 1,
                _ => connections.active += 1,
            }
            reinitialized += session.reinitializations();
            sessions.push(SessionStatus::of(session, load));
        }
        connections.total =
            connections.idle + connections.active + connections.connecting + connections.closing;
        sessions.extend(state.initializing.iter().map(SessionStatus::opening));
        sessions.sort_by_key(|session| session.id);
        PoolStatus {
            server_name: shared.name.to_string(),
            sharing,
            connections,
            in_flight: sessions.iter().map(|session| session.in_flight).sum(),
            capacity: limits.max_connections.saturating_mul(limits.max_in_flight),
            waiters: state.router.waiters(),
            longest_wait: state
                .router
                .first_waiter()
                .map(|waiter| waiter.since.elapsed())
                .unwrap_or_default(),
            pool_hits: state.counts.hits,
            pool_misses: state.counts.misses,
            refused: state.counts.refused,
            opened: state.counts.opened,
            closed: state.counts.closed.clone(),
            errors: state.counts.errors.clone(),
            reinitialized,
            last_error: state.failure.as_ref().map(ToString::to_string),
            retry_after: state.retry_after(),
            suspended: state.suspended,
            closed_for_good: state.closed,
            sessions,
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    fn lane(&self, scope: &Scope) -> Option<ScopeId> {
        (self.shared().options().sharing == Sharing::Pinned).then_some(scope.0.id)
    }

    /// For a caller who names no scope: where sessions are pinned, it is a scope of its own.
    async fn checkout_alone(&self, claim: Claim) -> Result<Lease, AcquireError> {
        let pinned = self.shared().options().sharing == Sharing::Pinned;
        let scope = pinned.then(|| self.scope());
        let lane = scope.as_ref().map(|scope| scope.0.id);
        Ok(self.checkout(lane, claim).await?.keep(scope))
    }

    async fn checkout(&self, scope: Option<ScopeId>, claim: Claim) -> Result<Lease, AcquireError> {
        let shared = self.shared();
        let mut deadline = None;
        loop {
            let lease = match self.route(scope, claim)? {
                Routed::Lease(lease) => lease,
                Routed::InLine(mut place) => {
                    let limit = shared.options().connection_timeout;
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
                    match timeout_at(deadline, &mut place.answer).await {
                        Ok(Ok(answer)) => answer?,
                        Ok(Err(_)) => return Err(AcquireError::Closed),
                        Err(_) => return Err(timed_out(shared, scope, limit)),
                    }
                }
            };
            if !lease.has_ended() {
                return Ok(lease);
            }
            // It died in this moment, and its attendant has not said so yet.
            shared.decide(|state| state.router.broke(lease.key(), CloseReason::Broken));
        }
    }

    /// The part of a checkout under the lock.
    fn route(&self, scope: Option<ScopeId>, claim: Claim) -> Result<Routed<'_>, AcquireError> {
        let shared = self.shared();
        let mut waiting = None;
        let mut state = shared.state.lock();
        let answer = state.router.acquire(scope, claim, || {
            let (reply, answer) = oneshot::channel();
            waiting = Some(answer);
            Waiter {
                reply,
                since: Instant::now(),
            }
        });
        match answer {
            Answer::Granted(grant) => {
                state.counts.served(true);
                shared.carry_out(state);
                let session = grant.session.id();
                let lease = Lease::new(Arc::clone(shared), grant);
                shared.emit(|| PoolEvent::Acquired {
                    session,
                    hit: true,
                    waited: Duration::ZERO,
                });
                Ok(Routed::Lease(lease))
            }
            Answer::Queued(ticket) => {
                shared.carry_out(state);
                let answer = waiting.expect("the router keeps a waiter for whom it queues");
                Ok(Routed::InLine(InLine {
                    shared,
                    scope,
                    ticket,
                    answer,
                }))
            }
            Answer::Refused(refusal) => {
                let trouble = state.trouble();
                state.counts.refused += u64::from(refusal == Refusal::QueueFull);
                drop(state);
                Err(shared.refusal(refusal, &trouble))
            }
        }
    }
}

enum Routed<'a> {
    Lease(Lease),
    InLine(InLine<'a>),
}

fn timed_out(shared: &Shared, scope: Option<ScopeId>, after: Duration) -> AcquireError {
    let state = shared.state.lock();
    let phase = if state.router.anything_suspect(scope) {
        Phase::Probe
    } else if state.router.live() == 0 {
        Phase::Open
    } else {
        Phase::Queue
    };
    let cause = state.failure.clone().filter(|_| phase == Phase::Open);
    AcquireError::Timeout {
        phase,
        after,
        cause,
    }
}

/// A place in line, given up when the caller goes away.
struct InLine<'a> {
    shared: &'a Shared,
    scope: Option<ScopeId>,
    ticket: Ticket,
    answer: oneshot::Receiver<Result<Lease, AcquireError>>,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        // Served or refused already: the common case, and a lease still in the channel comes back by itself.
        if self.answer.is_terminated() {
            return;
        }
        let waiter = self
            .shared
            .decide(|state| state.router.cancel(self.scope, self.ticket));
        drop(waiter);
    }
}

impl SessionStatus {
    fn of(session: &Session, in_flight: u32) -> Self {
        Self {
            id: session.id(),
            state: session.lifecycle().state(),
            era: Some(session.era()),
            age: session.age(),
            idle: if in_flight == 0 {
                session.unused_for()
            } else {
                Duration::ZERO
            },
            in_flight,
            calls: session.calls(),
            pid: session.pid(),
            noise_lines: session.noise_lines(),
        }
    }

    fn opening(lifecycle: &crate::session::Lifecycle) -> Self {
        Self {
            id: lifecycle.id(),
            state: lifecycle.state(),
            era: None,
            age: lifecycle.age(),
            idle: Duration::ZERO,
            in_flight: 0,
            calls: 0,
            pid: None,
            noise_lines: 0,
        }
    }
}

impl fmt::Debug for SessionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared().state.lock();
        f.debug_struct("SessionPool")
            .field("name", &self.shared().name)
            .field("sessions", &state.router.sessions().count())
            .field("waiters", &state.router.waiters())
            .finish_non_exhaustive()
    }
}
