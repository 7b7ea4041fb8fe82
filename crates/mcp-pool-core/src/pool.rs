//! The public face of a pool.

mod builder;
mod checkout;
#[cfg(test)]
mod tests;
mod view;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

pub use builder::PoolBuilder;
use tokio::time::{Instant, timeout};

use crate::{
    connect::{Connector, Handshake},
    error::AcquireError,
    inner::{Inner, State},
    lease::{Lease, PinnedLease},
    lifecycle::{CloseReason, SessionId},
    options::{InvalidOptions, PoolOptions, SharingMode},
    redact::Redactor,
    router::{Caller, Claim},
    scope::Scope,
    session::Session,
};

/// A pool of live MCP sessions to one server, with one identity.
///
/// Cheap to clone. Nothing is opened before the first use. Dropping the last clone closes the pool in the
/// background; [`SessionPool::close`] does so and waits.
///
/// What waits (`acquire`, `pin`, `probe`, `drain`, `close`) runs on a Tokio runtime with its time driver on. What does not is
/// called from anywhere, as leases may be dropped anywhere: the work it sets off runs on the runtime where a caller last
/// waited for a session. A pool may move from one runtime to another; sessions end with the runtime they were opened on.
#[derive(Clone)]
pub struct SessionPool(Arc<LastHandle>);

struct LastHandle(Arc<Inner>);

impl Drop for LastHandle {
    fn drop(&mut self) {
        self.0.unlimited_grace.store(false, Ordering::Release);
        self.0.begin_close();
    }
}

/// The result of a probe on request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ProbeReport {
    /// The session that was probed.
    pub session: SessionId,
    /// Whether it answered in time. If not, it has been retired.
    pub alive: bool,
    /// How long that took.
    pub took: Duration,
}

/// A handle that does not keep its pool open.
#[derive(Clone)]
pub struct WeakSessionPool(std::sync::Weak<LastHandle>);

impl WeakSessionPool {
    /// The pool, if another handle still keeps it open.
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
    /// A handle that does not keep the pool open.
    #[must_use]
    pub fn downgrade(&self) -> WeakSessionPool {
        WeakSessionPool(Arc::downgrade(&self.0))
    }

    /// Closes every session that is open now as soon as its leases are back, but those that hold the state of a scope.
    pub fn evict_stateless(&self) {
        self.inner().decide(|state| {
            let keys: Vec<_> = state.router.sessions().map(|(key, ..)| key).collect();
            for key in keys {
                if !state.router.is_owned(key) {
                    state.router.retire(key, CloseReason::Evicted);
                }
            }
        });
    }

    /// Closes every session that is open now as soon as its leases are back. Later callers meet fresh ones.
    pub fn evict_all(&self) {
        self.inner().decide(|state| {
            let keys: Vec<_> = state.router.sessions().map(|(key, ..)| key).collect();
            for key in keys {
                state.router.retire(key, CloseReason::Evicted);
            }
        });
    }

    /// Closes every session that waits for a probe, as soon as its leases are back, and returns how many there are. The
    /// probes are not awaited.
    pub fn evict_suspects(&self) -> usize {
        self.inner().decide(|state| {
            let suspects = state.router.suspects();
            for key in &suspects {
                state.router.retire(*key, CloseReason::Evicted);
            }
            suspects.len()
        })
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
            redactor: Redactor::default(),
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
        self.checkout_alone(Claim::Share, Caller::Foreground).await
    }

    /// A place on the session of a scope, where sessions are pinned; elsewhere, and for a scope of another pool, the
    /// same as [`SessionPool::acquire`].
    ///
    /// # Errors
    /// As [`SessionPool::acquire`], and once [`AcquireError::StateLost`] where the session that held the scope's state is
    /// gone.
    ///
    /// # Cancel safety
    /// As [`SessionPool::acquire`].
    pub async fn acquire_in(&self, scope: &Scope) -> Result<Lease, AcquireError> {
        self.checkout_in(scope, Claim::Share, Caller::Foreground)
            .await
    }

    /// As [`SessionPool::acquire_in`] or [`SessionPool::acquire`], for work beside the calls. It waits in the same line and
    /// takes none of the `max_waiters` places. Where the scope has lost its state, the error is returned here too, and
    /// again to the scope's next caller.
    ///
    /// # Errors
    /// As [`SessionPool::acquire_in`].
    ///
    /// # Cancel safety
    /// As [`SessionPool::acquire`].
    pub async fn acquire_in_background(
        &self,
        scope: Option<&Scope>,
    ) -> Result<Lease, AcquireError> {
        let (claim, caller) = (Claim::Share, Caller::Background);
        match scope {
            Some(scope) => self.checkout_in(scope, claim, caller).await,
            None => self.checkout_alone(claim, caller).await,
        }
    }

    /// A session for one caller alone, for as long as it is held.
    ///
    /// # Errors
    /// As [`SessionPool::acquire`].
    ///
    /// # Cancel safety
    /// As [`SessionPool::acquire`].
    pub async fn pin(&self) -> Result<PinnedLease, AcquireError> {
        let lease = self.checkout_alone(Claim::Whole, Caller::Foreground);
        Ok(lease.await?.into_pinned())
    }

    /// The session of a scope for one caller alone, where sessions are pinned; elsewhere, and for a scope of another
    /// pool, the same as [`SessionPool::pin`].
    ///
    /// # Errors
    /// As [`SessionPool::acquire`].
    ///
    /// # Cancel safety
    /// As [`SessionPool::acquire`].
    pub async fn pin_in(&self, scope: &Scope) -> Result<PinnedLease, AcquireError> {
        let lease = self.checkout_in(scope, Claim::Whole, Caller::Foreground);
        Ok(lease.await?.into_pinned())
    }

    /// Probes one session now, and retires it if it does not answer. Opens one if none is live.
    ///
    /// # Errors
    /// As [`SessionPool::acquire`].
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn probe(&self) -> Result<ProbeReport, AcquireError> {
        let inner = self.inner();
        let lease = self.acquire().await?;
        let began = Instant::now();
        let alive = inner.probe_session(lease.key(), lease.session()).await;
        Ok(ProbeReport {
            session: lease.id(),
            alive,
            took: began.elapsed(),
        })
    }

    /// Opens sessions up to the minimum now, in the background, and keeps it from here on. Outside a runtime, before the
    /// pool has been used on one, they are opened at its first use.
    pub fn warm_up(&self) {
        self.inner().decide(|state| {
            state.enter_runtime();
            state.router.warm_up();
        });
    }

    /// Opens no more sessions to keep the minimum, only for callers, until [`SessionPool::resume_refill`]: for a server that
    /// is known to be ill. Sessions that are open, or being opened, stay.
    pub fn pause_refill(&self) {
        self.inner().decide(|state| state.router.pause_refill());
    }

    /// Opens sessions up to the minimum again.
    pub fn resume_refill(&self) {
        self.inner().decide(|state| {
            state.enter_runtime_if_none();
            state.router.resume_refill();
        });
    }

    /// Ends the pause after openings that failed: the next caller has a session opened, in place of the error of the last
    /// opening. If that fails too, the pause after it is as long as it would have been.
    pub fn end_backoff(&self) {
        self.inner().decide(State::end_pause);
    }

    /// The settings in force.
    #[must_use]
    pub fn options(&self) -> PoolOptions {
        (*self.inner().options()).clone()
    }

    /// Changes the settings without disturbing a call. Between pinned and the other modes a pool cannot change: make
    /// a new one.
    ///
    /// # Errors
    /// Settings that contradict themselves. Nothing has changed then.
    ///
    /// # Panics
    /// If `sharing` would change from or to [`SharingMode::Pinned`].
    pub fn configure(&self, options: PoolOptions) -> Result<(), InvalidOptions> {
        options.validate()?;
        let inner = self.inner();
        assert_eq!(
            options.sharing == SharingMode::Pinned,
            inner.pinned,
            "a pool cannot change to or from pinned"
        );
        let limits = options.limits();
        let exclusive = options.sharing == SharingMode::Exclusive;
        inner.exclusive.store(exclusive, Ordering::Relaxed);
        *inner.options.lock() = Arc::new(options);
        inner.decide(|state| {
            state.router.configure(limits);
        });
        inner.changed.notify_one();
        Ok(())
    }

    /// Makes callers wait, within their `connection_timeout`. Leases that are out are not disturbed.
    pub fn suspend(&self) {
        self.inner().decide(|state| {
            state.router.suspend();
        });
    }

    /// Serves callers again.
    pub fn resume(&self) {
        self.inner().decide(|state| {
            state.enter_runtime_if_none();
            state.router.resume();
        });
    }

    /// Closes one session as soon as its leases are back. `false` if there is none of this name.
    pub fn evict(&self, session: SessionId) -> bool {
        self.retire(session, CloseReason::Evicted)
    }

    /// The same as part of a drain.
    pub fn drain_session(&self, session: SessionId) -> bool {
        self.retire(session, CloseReason::Drained)
    }

    fn retire(&self, session: SessionId, reason: CloseReason) -> bool {
        self.inner().decide(|state| {
            let found = state
                .router
                .sessions()
                .find(|(_, s, ..)| s.id() == session)
                .map(|(key, ..)| key);
            if let Some(key) = found {
                state.router.retire(key, reason);
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
            self.drain_session(session.id());
        }
        for session in sessions {
            session.closed().await;
        }
    }

    /// Closes the pool to callers at once, those in line too, and returns when all who have a session are done with it
    /// and nothing of the pool is left. Their time is not limited, unless [`SessionPool::close`] is called meanwhile.
    ///
    /// # Cancel safety
    /// May be dropped at any point; what has begun goes on in the background.
    pub async fn wind_down(&self) {
        let inner = self.inner();
        if !inner.closing.is_cancelled() {
            inner.unlimited_grace.store(true, Ordering::Release);
        }
        inner.begin_close();
        inner.tasks.wait().await;
    }

    /// Closes the pool: no more callers, calls in flight may finish within `shutdown_grace`, then all sessions are
    /// closed at once, each within a few seconds. Afterwards no process, task or connection of the pool is left.
    ///
    /// # Cancel safety
    /// May be dropped at any point; the pool is closed in the background all the same. May be called again.
    pub async fn close(&self) {
        /// No session takes longer to close: the end of stdin, SIGTERM, and the wait after SIGKILL.
        const CLOSE: Duration = Duration::from_secs(6);
        let inner = self.inner();
        inner.unlimited_grace.store(false, Ordering::Release);
        inner.begin_close();
        let limit = inner.options().shutdown_grace.saturating_add(CLOSE);
        if timeout(limit, inner.tasks.wait()).await.is_err() {
            tracing::error!(server = %inner.name, "some sessions could not be closed within {limit:?}");
        }
    }

    /// The sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.inner()
            .state
            .lock()
            .router
            .sessions()
            .map(|(_, session, ..)| Arc::clone(session))
            .collect()
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }
}

impl fmt::Debug for SessionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner().state.lock();
        f.debug_struct("SessionPool")
            .field("name", &self.inner().name)
            .field("sessions", &state.router.sessions().count())
            .field("waiters", &state.router.waiters())
            .finish_non_exhaustive()
    }
}
