//! A place on a session, given back when it is dropped.

use std::{fmt, ops::Deref, sync::Arc};

use rmcp::service::ServiceError;
use tokio::time::Instant;

use crate::{
    challenge::AuthChallenge,
    error::OpenErrorKind,
    event::CloseReason,
    failure::{CallFailure, ends_session, is_death},
    pool::Scope,
    router::{Claim, Grant, SessionKey},
    session::Session,
    shared::Shared,
};

/// What both kinds of lease are made of.
struct Leased {
    shared: Arc<Shared>,
    session: Arc<Session>,
    key: SessionKey,
    claim: Claim,
    /// In a pinned pool, the scope of a caller who named none. Ends after the lease has come back.
    scope: Option<Scope>,
}

impl Leased {
    fn new(shared: Arc<Shared>, grant: Grant<Arc<Session>>) -> Self {
        Self {
            shared,
            session: grant.session,
            key: grant.key,
            claim: grant.claim,
            scope: None,
        }
    }

    fn begin_call(&self, deadline: Option<Instant>) -> CallGuard<'_> {
        self.session.count_call();
        CallGuard {
            leased: self,
            deadline,
            over: false,
        }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        self.shared.release(self.key, self.claim, &self.session);
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
pub struct PinnedSession(Leased);

impl Lease {
    pub(crate) fn new(shared: Arc<Shared>, grant: Grant<Arc<Session>>) -> Self {
        Self(Leased::new(shared, grant))
    }

    /// The same place, known to be the only one on its session.
    pub(crate) fn into_pinned(self) -> PinnedSession {
        debug_assert_eq!(self.0.claim, Claim::Whole);
        PinnedSession(self.0)
    }

    /// Has the scope live as long as the lease.
    pub(crate) fn keep(mut self, scope: Option<Scope>) -> Self {
        self.0.scope = scope;
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
    pub fn begin_call(&self, deadline: Option<Instant>) -> CallGuard<'_> {
        self.0.begin_call(deadline)
    }
}

impl PinnedSession {
    /// The session behind the lease.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.0.session
    }

    /// Has the pool watch a call: see [`CallGuard`].
    pub fn begin_call(&self, deadline: Option<Instant>) -> CallGuard<'_> {
        self.0.begin_call(deadline)
    }
}

/// Watches one call on a session, so that a session on which calls run out of time is not handed out as good.
///
/// Held across the call and told of the answer by [`CallGuard::answered`]. If it is dropped without one after its
/// deadline, the call ran out of time: the session must answer a probe before it is leased again, and is retired if
/// that was the second time in a row. If it is dropped before, the caller went away, which says nothing about the
/// session.
#[must_use = "dropping it at once says that the call was given up"]
pub struct CallGuard<'a> {
    leased: &'a Leased,
    deadline: Option<Instant>,
    over: bool,
}

impl CallGuard<'_> {
    /// The server answered, with whatever.
    pub fn answered(mut self) {
        self.over = true;
        self.leased.session.answered();
    }

    /// The call ended in an error; what that says about the session is for the pool to know.
    pub fn failed(mut self, error: &ServiceError) -> CallFailure {
        self.over = true;
        let failure = CallFailure::of(error);
        if failure == CallFailure::Answered {
            self.leased.session.answered();
            return failure;
        }
        // Here and now: the caller may ask for another session in the next moment.
        let Leased {
            shared,
            key,
            session,
            ..
        } = self.leased;
        if failure == CallFailure::Rejected(OpenErrorKind::Unauthorized) {
            return shared.credentials_refused(session);
        }
        if failure == CallFailure::Rejected(OpenErrorKind::Forbidden)
            && AuthChallenge::of(error).is_some_and(|challenge| challenge.is_insufficient_scope())
        {
            return shared.scope_insufficient(session);
        }
        if is_death(error) {
            shared.session_broke(*key, session);
        } else if ends_session(error) {
            shared.decide(|state| state.router.retire(*key, CloseReason::Broken));
        }
        failure
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if !self.over
            && self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
        {
            Shared::timed_out(&self.leased.shared, self.leased.key, &self.leased.session);
        }
    }
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0.session
    }
}

impl Deref for PinnedSession {
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

impl fmt::Debug for PinnedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PinnedSession")
            .field(&self.0.session)
            .finish()
    }
}

impl fmt::Debug for CallGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallGuard")
            .field("session", &self.leased.session.id())
            .finish_non_exhaustive()
    }
}
