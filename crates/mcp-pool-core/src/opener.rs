//! The task of one session in a pool, from the decision to open it until it is closed.

mod opening;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use opening::Opening;
use tokio::time::Instant;
use tracing::Span;

use crate::{
    close,
    error::{OpenError, OpenErrorKind, Phase},
    event::PoolEvent,
    inner::Inner,
    lifecycle::CloseReason,
    router::{ScopeId, SessionKey},
    session::Session,
    slots::Slot,
};

/// A session that dies within this time of being ready, without having answered anything, flaps.
const FLAP: Duration = Duration::from_secs(5);

/// Opens a session, as the router asked, and stays with it to its end. The runtime may drop the task at any point.
/// `cause` is what waits for it.
pub(crate) fn open(
    inner: Arc<Inner>,
    scope: Option<ScopeId>,
    generation: u64,
    cause: Span,
) -> impl Future<Output = ()> + Send {
    // Made before the task first runs: it may never come to that.
    let opening = OpeningTask {
        inner,
        scope,
        generation,
        over: false,
    };
    opening.run(cause)
}

/// An opening that the router counts. If it is dropped, the count is set right.
struct OpeningTask {
    inner: Arc<Inner>,
    scope: Option<ScopeId>,
    generation: u64,
    over: bool,
}

impl OpeningTask {
    async fn run(mut self, cause: Span) {
        let began = Instant::now();
        let opened = open_within_budget(&self.inner, self.scope, cause).await;
        self.over = true;
        let (inner, scope) = (&self.inner, self.scope);
        let (session, slot) = match opened {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => {
                failed(inner, scope, error);
                return;
            }
            None => {
                inner.decide(|state| state.router.open_failed(scope));
                return;
            }
        };
        let key = inner.decide(|state| {
            state.counts.opened += 1;
            state.backoff.opened();
            state.failure = None;
            state.end_pause();
            state.router.opened(scope, Arc::clone(&session))
        });
        let task = SessionTask {
            inner: Arc::clone(inner),
            key,
            session: Arc::clone(&session),
            slot: Some(slot),
            over: false,
        };
        inner.ensure_maintenance();
        tracing::info!(server = %inner.name, session = %session.id(), era = %session.era(), pid = session.pid(), "session opened");
        inner.emit(|| PoolEvent::Opened {
            session: session.id(),
            took: began.elapsed(),
        });
        inner.changed.notify_one();
        task.run().await;
    }
}

impl Drop for OpeningTask {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if std::thread::panicking() {
            let message = "the opening panicked";
            let cause = OpenError::new(OpenErrorKind::Internal, Phase::Open, message);
            failed(&self.inner, self.scope, Arc::new(cause));
        } else {
            self.inner.opening_dropped(self.scope, self.generation);
        }
    }
}

/// `None` if the pool closes first.
async fn open_within_budget(
    inner: &Inner,
    scope: Option<ScopeId>,
    cause: Span,
) -> Option<Result<(Arc<Session>, Slot), Arc<OpenError>>> {
    let waits = AwaitsPlace::begin(&inner.awaiting_place);
    let place = inner.budget.place(inner, scope);
    let place = inner.closing.run_until_cancelled(place).await?;
    drop(waits);
    match Opening::run(inner, &cause).await {
        Ok(session) => {
            session.hold_place(place);
            let session = Arc::new(session);
            let slot = inner.slots.hold(&session).await;
            Some(Ok((session, slot)))
        }
        Err(_) if inner.closing.is_cancelled() => None,
        Err(error) => Some(Err(error)),
    }
}

/// An opening that waits for a place of the budget, and does not hold one yet.
struct AwaitsPlace<'a>(&'a AtomicU32);

impl<'a> AwaitsPlace<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for AwaitsPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn failed(inner: &Inner, scope: Option<ScopeId>, cause: Arc<OpenError>) {
    tracing::warn!(server = %inner.name, phase = %cause.phase(), "opening a session failed: {cause}");
    let pause = inner.decide(|state| {
        state.counts.error(cause.phase());
        let pause = state.backoff.failed();
        inner.back_off(state, Arc::clone(&cause), pause);
        state.router.open_failed(scope);
        pause
    });
    inner.emit(|| PoolEvent::OpenFailed {
        error: cause,
        retry_after: pause,
    });
}

/// A session that the router counts. If its task is dropped, the session is killed and no longer counted.
struct SessionTask {
    inner: Arc<Inner>,
    key: SessionKey,
    session: Arc<Session>,
    /// Dropped when the session is dead.
    slot: Option<Slot>,
    over: bool,
}

impl SessionTask {
    /// Waits until the session ends or the router retires it, and closes it.
    async fn run(mut self) {
        let (inner, session, key) = (&self.inner, &self.session, self.key);
        let shutdown = session.lifecycle().shutdown_requested().clone();
        let mut reinitialized = session.watch_reinitializations();
        let mut asked_to_end = false;
        loop {
            tokio::select! {
                biased;
                () = session.dismissed() => break,
                () = session.wait_ended() => {
                    inner.session_broke(key, session);
                    break;
                }
                () = shutdown.cancelled(), if !asked_to_end => {
                    asked_to_end = true;
                    inner.decide(|state| state.router.retire(key, CloseReason::Evicted));
                }
                Ok(()) = reinitialized.changed() => {
                    tracing::warn!(server = %inner.name, session = %session.id(), "server dropped the session (404), reinitialized");
                    inner.emit(|| PoolEvent::Reinitialized { session: session.id() });
                }
            }
        }
        let reason = session.close_reason().unwrap_or(CloseReason::Broken);
        let age = session.age();
        close::close(session, reason).await;
        drop(self.slot.take());
        self.record_closed(reason, age);
    }

    fn record_closed(&mut self, reason: CloseReason, age: Duration) {
        self.over = true;
        let (inner, session) = (&self.inner, &self.session);
        inner.decide(|state| {
            // Does nothing if the router knows that the session ends.
            state.router.broke(self.key, reason);
            *state.counts.closed.entry(reason).or_default() += 1;
            state.counts.reinitialized += session.reinitializations();
            state.router.closed(self.key);
        });
        inner.changed.notify_one();
        tracing::info!(server = %inner.name, session = %session.id(), %reason, "session closed");
        inner.emit(|| PoolEvent::Closed {
            session: session.id(),
            reason,
            age,
            called: session.calls() > 0,
            served: session.has_served(),
        });
    }
}

impl Drop for SessionTask {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        close::kill(&self.session);
        let reason = self.session.close_reason().unwrap_or(CloseReason::Broken);
        let age = self.session.age();
        self.record_closed(reason, age);
    }
}

impl Inner {
    /// A session has died. Its task and its callers report it; the first report counts.
    pub(crate) fn session_broke(&self, key: SessionKey, session: &Arc<Session>) {
        // First of all, no more leases; why it broke is found out after.
        let flap = session.age() < FLAP && !session.has_served();
        let (pause, runtime) = self.decide(|state| {
            if !state.router.broke(key, CloseReason::Broken) {
                return (None, None);
            }
            state.counts.error(Phase::Call);
            // A server that answers calls on its other sessions does not die as soon as it is open.
            if !flap || self.answered.swap(false, Ordering::Relaxed) {
                state.backoff.served();
            }
            let pause = flap.then(|| state.backoff.flapped()).flatten();
            if let Some(pause) = pause {
                self.back_off(state, flapping(None), pause);
            }
            (pause, state.runtime.get().cloned())
        });
        if let (Some(this), Some(runtime)) = (self.this.upgrade(), runtime) {
            let session = Arc::clone(session);
            let explain = async move { this.explain_end(&session, pause.is_some()).await };
            self.spawn(Some(&runtime), explain);
        }
    }

    /// Says why a session broke.
    async fn explain_end(&self, session: &Session, flapped: bool) {
        let cause = session.cause_of_end().await;
        tracing::warn!(server = %self.name, session = %session.id(), "session broke: {cause}");
        if flapped {
            self.state.lock().failure = Some(flapping(Some(&cause)));
        }
    }
}

fn flapping(cause: Option<&str>) -> Arc<OpenError> {
    let mut message = "sessions die as soon as they are open".to_owned();
    if let Some(cause) = cause {
        message.push_str(": ");
        message.push_str(cause);
    }
    Arc::new(OpenError::new(
        OpenErrorKind::ProcessExited,
        Phase::Open,
        message,
    ))
}
