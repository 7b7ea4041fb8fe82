//! Sessions whose credentials the server has refused.

#[cfg(feature = "http")]
use std::sync::Arc;

use super::{Inner, State};
#[cfg(feature = "http")]
use crate::{
    backoff::Backoff,
    credentials::Bad,
    error::{OpenError, Phase},
};
use crate::{error::OpenErrorKind, failure::CallFailure, lifecycle::CloseReason, session::Session};

#[cfg(feature = "http")]
impl Inner {
    /// The server has refused the credentials of a session. Sessions with the same credentials take no more leases; calls
    /// under way may finish. If these credentials came of an earlier refusal, the next opening waits for a pause.
    pub(crate) fn credentials_refused(&self, session: &Session) -> CallFailure {
        let rejected = CallFailure::Rejected(OpenErrorKind::Unauthorized);
        let Some(issued) = session.credentials() else {
            return rejected;
        };
        let bad = issued.refuse();
        let pause = (bad == Bad::Wrong).then(|| issued.pause()).flatten();
        self.decide(|state| {
            self.retire_refused(state);
            if let Some(times) = pause {
                let message = "the server rejects the refreshed credentials, too (HTTP 401)";
                let cause = OpenError::new(OpenErrorKind::Unauthorized, Phase::Call, message);
                self.back_off(state, Arc::new(cause), Backoff::refused(times));
            }
        });
        match bad {
            Bad::Stale => CallFailure::StaleCredentials,
            Bad::Wrong => rejected,
        }
    }

    /// The server wants a scope that the credentials of a session lack. If there is a source of others, sessions with the
    /// same credentials take no more leases.
    pub(crate) fn scope_insufficient(&self, session: &Session) -> CallFailure {
        if !session.credentials_are_stale() {
            return CallFailure::Rejected(OpenErrorKind::Forbidden);
        }
        self.decide(|state| self.retire_refused(state));
        CallFailure::StaleCredentials
    }
}

#[cfg(not(feature = "http"))]
impl Inner {
    pub(crate) fn credentials_refused(&self, _: &Session) -> CallFailure {
        CallFailure::Rejected(OpenErrorKind::Unauthorized)
    }

    pub(crate) fn scope_insufficient(&self, _: &Session) -> CallFailure {
        CallFailure::Rejected(OpenErrorKind::Forbidden)
    }
}

impl Inner {
    /// Has the sessions closed whose credentials have been refused, each when its leases are back.
    pub(crate) fn retire_refused(&self, state: &mut State) {
        let refused: Vec<_> = state
            .router
            .sessions()
            .filter(|(_, session, ..)| session.credentials_are_stale())
            .map(|(key, session, ..)| (key, session.id()))
            .collect();
        for (key, session) in refused {
            if state.router.retire(key, CloseReason::Credentials) {
                tracing::info!(server = %self.name, %session, "the server refused the session's credentials (401), closing session; requesting new ones");
            }
        }
    }
}
