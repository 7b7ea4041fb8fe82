//! Places of calls that were given up and still run on the server.
//!
//! A cancellation is a wish: many servers run the call to its end all the same, and most send no answer then. Where a
//! session carries one call at a time, or the calls of one scope, the next call must not run beside such a call. So its
//! place is kept until the server has answered it, or `cancel_grace` has passed.

use std::sync::Arc;

use tokio::time::timeout;

use crate::{
    inner::Inner,
    lifecycle::CloseReason,
    router::{Claim, SessionKey},
    scope::Scope,
    session::Session,
};

/// The place of a call that was given up, released when this is dropped.
pub(crate) struct Abandoned {
    pub(crate) inner: Arc<Inner>,
    pub(crate) session: Arc<Session>,
    pub(crate) key: SessionKey,
    pub(crate) claim: Claim,
    /// Ends after the place has been released.
    pub(crate) _scope: Option<Scope>,
}

impl Abandoned {
    /// Keeps the place until the call has ended on the server.
    pub(crate) fn keep(self) {
        let inner = Arc::clone(&self.inner);
        let runtime = inner.state.lock().runtime.get().cloned();
        inner.spawn(runtime.as_ref(), self.outlast());
    }

    async fn outlast(self) {
        let Self {
            inner,
            session,
            key,
            ..
        } = &self;
        let grace = inner.options().cancel_grace;
        let outlast = async {
            let ended = inner.ended_on_server(session);
            if timeout(grace, ended).await.is_ok() {
                session.answered();
            } else if inner.pinned {
                tracing::warn!(server = %inner.name, session = %session.id(), "a call that was given up has not ended within {grace:?} (cancel_grace); probing its session");
                session.exchange().forget_given_up();
                inner.suspect(*key, session);
            } else {
                inner.replace_abandoned(*key, session).await;
            }
        };
        tokio::select! {
            () = outlast => {}
            () = session.dismissed() => {}
            () = inner.closing.cancelled() => {}
        }
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.inner.release(self.key, self.claim, &self.session);
    }
}

impl Inner {
    /// Waits until the server has answered a call that was given up.
    pub(crate) async fn ended_on_server(&self, session: &Session) {
        let unanswered = session.exchange();
        if self.pinned {
            // Others of the scope may have calls on it.
            return unanswered.wait_given_up_answered().await;
        }
        if unanswered.is_empty() {
            // The request may still be in rmcp's queue: a probe follows it there.
            let within = self.options().probe_timeout;
            if session.probe(within).await.is_err() {
                return std::future::pending().await;
            }
        }
        unanswered.wait_empty().await;
    }

    /// Closes an exclusive session on which a call that was given up does not end. If the call ran out of time, a probe
    /// says first whether the server is slow or silent: silence is a fault. Returns the reason.
    pub(crate) async fn replace_abandoned(
        &self,
        key: SessionKey,
        session: &Session,
    ) -> CloseReason {
        let grace = self.options().cancel_grace;
        tracing::warn!(server = %self.name, session = %session.id(), "a call that was given up has not ended within {grace:?} (cancel_grace); closing its session");
        if session.has_timed_out() && !self.probe_session(key, session).await {
            return CloseReason::ProbeFailed;
        }
        self.decide(|state| state.router.retire(key, CloseReason::Abandoned));
        CloseReason::Abandoned
    }
}
