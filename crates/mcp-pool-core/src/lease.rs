//! A place on a session, given back when it is dropped.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rmcp::service::ServiceError;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, timeout},
};

use crate::{
    abandoned::Abandoned,
    challenge::AuthChallenge,
    error::OpenErrorKind,
    failure::{CallFailure, ends_session, is_death},
    inner::Inner,
    lifecycle::CloseReason,
    router::{Claim, Grant, SessionKey},
    scope::Scope,
    session::Session,
};

/// What both kinds of lease are made of. Small, because a lease is moved on its way to the caller.
struct Leased {
    inner: Arc<Inner>,
    session: Arc<Session>,
    key: SessionKey,
    claim: Claim,
    /// In a pinned pool, the scope of a caller who named none. Ends after the lease has come back.
    scope: Option<Scope>,
    /// Made for the first call that has to be kept apart from others.
    calls: OnceLock<Box<OwnCalls>>,
}

/// Calls of one owner that must not run side by side, and what became of those that were given up.
#[derive(Default)]
struct OwnCalls {
    /// Calls that were given up here.
    given_up: AtomicU64,
    /// Those of them that are known to have ended on the server.
    ended: AtomicU64,
    /// Where one caller has a session that carries one call at a time: for the call.
    turn: Mutex<()>,
    /// The session is closed under its owner, for this reason.
    over: OnceLock<CloseReason>,
}

impl OwnCalls {
    fn still_run(&self) -> bool {
        self.ended.load(Ordering::Acquire) < self.given_up.load(Ordering::Acquire)
    }
}

impl Leased {
    fn new(inner: Arc<Inner>, grant: Grant<Arc<Session>>) -> Self {
        Self {
            inner,
            session: grant.session,
            key: grant.key,
            claim: grant.claim,
            scope: None,
            calls: OnceLock::new(),
        }
    }

    fn begin_call(&self, deadline: impl Into<Deadline>) -> CallGuard<'_> {
        self.session.count_call();
        CallGuard {
            leased: self,
            deadline: deadline.into(),
            over: false,
        }
    }

    fn is_exclusive(&self) -> bool {
        self.inner.exclusive.load(Ordering::Relaxed)
    }

    /// A call was given up. Where calls run side by side anyway, its place is free at once.
    fn give_up_call(&self) {
        if self.is_exclusive() || self.inner.pinned {
            self.session.exchange().give_up();
            self.calls().given_up.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Whether a call may still run on the server, of which the lease is the owner.
    fn still_runs(&self) -> bool {
        self.calls.get().is_some_and(|calls| calls.still_run())
            || self.is_exclusive() && !self.session.exchange().is_empty()
    }

    fn calls(&self) -> &OwnCalls {
        self.calls.get_or_init(Box::default)
    }

    async fn turn(&self) -> Result<Turn<'_>, CloseReason> {
        let calls = self.calls();
        let turn = match self.is_exclusive() {
            true => Some(calls.turn.lock().await),
            false => None,
        };
        loop {
            if let Some(reason) = calls.over.get() {
                return Err(*reason);
            }
            if !calls.still_run() {
                return Ok(Turn { _turn: turn });
            }
            let given_up = calls.given_up.load(Ordering::Acquire);
            // Boxed: it is large, and hardly any call has to wait.
            if let Err(reason) = Box::pin(self.wait_ended()).await {
                let _ = calls.over.set(reason);
                return Err(reason);
            }
            // Others that were given up meanwhile may still run.
            calls.ended.fetch_max(given_up, Ordering::AcqRel);
        }
    }

    /// Waits until a call that was given up has ended on the server.
    async fn wait_ended(&self) -> Result<(), CloseReason> {
        let (inner, session) = (&self.inner, &self.session);
        let ended = inner.ended_on_server(session);
        let grace = inner.options().cancel_grace;
        if timeout(grace, ended).await.is_ok() {
            return Ok(());
        }
        if !inner.pinned {
            return Err(inner.replace_abandoned(self.key, session).await);
        }
        if !inner.probe_session(self.key, session).await {
            return Err(CloseReason::ProbeFailed);
        }
        session.exchange().forget_given_up();
        Ok(())
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if !self.still_runs() || self.session.has_ended() {
            return self.inner.release(self.key, self.claim, &self.session);
        }
        let place = Abandoned {
            inner: Arc::clone(&self.inner),
            session: Arc::clone(&self.session),
            key: self.key,
            claim: self.claim,
            _scope: self.scope.take(),
        };
        place.keep();
    }
}

/// A place on a session that others may use at the same time.
///
/// Derefs to the [`Session`] and so to rmcp's client. Dropping it, wherever that happens, gives the place to the
/// caller who has waited longest.
pub struct Lease(Leased);

/// A session for one caller alone, for as long as it is held.
///
/// Derefs to the [`Session`] and so to rmcp's client.
pub struct PinnedLease(Leased);

impl Lease {
    pub(crate) fn new(inner: Arc<Inner>, grant: Grant<Arc<Session>>) -> Self {
        Self(Leased::new(inner, grant))
    }

    /// The same place, known to be the only one on its session.
    pub(crate) fn into_pinned(self) -> PinnedLease {
        debug_assert_eq!(self.0.claim, Claim::Whole);
        PinnedLease(self.0)
    }

    /// Has the scope live as long as the lease.
    pub(crate) fn keep(mut self, scope: Scope) -> Self {
        self.0.scope = Some(scope);
        self
    }

    pub(crate) fn key(&self) -> SessionKey {
        self.0.key
    }

    /// The session behind the lease.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.0.session
    }

    /// Has the pool watch a call: see [`CallGuard`].
    pub fn begin_call(&self, deadline: impl Into<Deadline>) -> CallGuard<'_> {
        self.0.begin_call(deadline)
    }
}

impl PinnedLease {
    /// The session behind the lease.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.0.session
    }

    /// Has the pool watch a call: see [`CallGuard`].
    pub fn begin_call(&self, deadline: impl Into<Deadline>) -> CallGuard<'_> {
        self.0.begin_call(deadline)
    }

    /// Waits until the next call may be made on the session. An earlier call that was given up has to end on the server
    /// first, where sessions are exclusive or pinned; an exclusive session carries one call at a time for its owner, too.
    ///
    /// # Errors
    /// The reason for which the session is closed: the earlier call did not end within `cancel_grace`, and then, where
    /// sessions are pinned, a probe was not answered either.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn turn(&self) -> Result<Turn<'_>, CloseReason> {
        self.0.turn().await
    }
}

/// The right to make one call on a session that is held. Kept until the call has ended.
#[derive(Debug)]
#[must_use = "the turn is over when this is dropped"]
pub struct Turn<'a> {
    _turn: Option<MutexGuard<'a, ()>>,
}

/// When a call has to be over: never, at a moment, or at one that progress moves.
#[derive(Clone)]
pub struct Deadline(Due);

#[derive(Clone)]
enum Due {
    Fixed(Option<Instant>),
    Moving(Arc<dyn Fn() -> Instant + Send + Sync>),
}

impl Deadline {
    /// A deadline that is asked for when it matters.
    pub fn moving(due: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self(Due::Moving(Arc::new(due)))
    }

    fn has_passed(&self) -> bool {
        let due = match &self.0 {
            Due::Fixed(due) => *due,
            Due::Moving(due) => Some(due()),
        };
        due.is_some_and(|due| Instant::now() >= due)
    }
}

impl From<Option<Instant>> for Deadline {
    fn from(due: Option<Instant>) -> Self {
        Self(Due::Fixed(due))
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Due::Fixed(due) => f.debug_tuple("Deadline").field(due).finish(),
            Due::Moving(_) => f.write_str("Deadline(moving)"),
        }
    }
}

/// Watches one call on a session, so that a session on which calls run out of time is not handed out as good.
///
/// Held across the call; [`CallGuard::answered`] reports its answer. If it is dropped without one after its
/// deadline, the call ran out of time: the session must answer a probe before it is leased again. If it is dropped
/// before, the caller went away, which says nothing about the session. Either way the call may still run on the server:
/// where sessions are exclusive or pinned its place is kept until it has ended there.
#[must_use = "dropping it at once says that the call was given up"]
pub struct CallGuard<'a> {
    leased: &'a Leased,
    deadline: Deadline,
    over: bool,
}

impl CallGuard<'_> {
    /// The server answered, with whatever.
    pub fn answered(mut self) {
        self.over = true;
        self.leased.inner.answered(&self.leased.session);
    }

    /// The call ended in an error; what that says about the session is for the pool to know.
    pub fn failed(mut self, error: &ServiceError) -> CallFailure {
        self.over = true;
        let failure = CallFailure::of(error);
        if failure == CallFailure::Answered {
            self.leased.inner.answered(&self.leased.session);
            return failure;
        }
        // Here and now: the caller may ask for another session in the next moment.
        let Leased {
            inner,
            key,
            session,
            ..
        } = self.leased;
        if failure == CallFailure::Rejected(OpenErrorKind::Unauthorized) {
            return inner.credentials_refused(session);
        }
        if failure == CallFailure::Rejected(OpenErrorKind::Forbidden)
            && AuthChallenge::of(error).is_some_and(|challenge| challenge.is_insufficient_scope())
        {
            return inner.scope_insufficient(session);
        }
        if is_death(error) {
            inner.session_broke(*key, session);
        } else if ends_session(error) {
            inner.decide(|state| state.router.retire(*key, CloseReason::Broken));
        }
        failure
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let Leased {
            inner,
            key,
            session,
            ..
        } = self.leased;
        self.leased.give_up_call();
        let late = self.deadline.has_passed();
        if late && self.leased.is_exclusive() {
            // The session carries no other call until this one has ended. It is probed if that takes too long.
            session.timed_out();
        } else if late {
            inner.timed_out(*key, session);
        }
    }
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0.session
    }
}

impl Deref for PinnedLease {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0.session
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.0.session).finish()
    }
}

impl fmt::Debug for PinnedLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PinnedLease").field(&self.0.session).finish()
    }
}

impl fmt::Debug for CallGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallGuard")
            .field("session", &self.leased.session.id())
            .finish_non_exhaustive()
    }
}
