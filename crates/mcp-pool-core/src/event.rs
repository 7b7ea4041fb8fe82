//! Events of a pool, and their observer.

use std::{sync::Arc, time::Duration};

use crate::{
    error::OpenError,
    lifecycle::{CloseReason, SessionId},
};

/// Something that happened in a pool.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolEvent {
    /// A session is being opened.
    Opening {
        /// The session to be.
        session: SessionId,
    },
    /// A session is ready, after this long.
    Opened {
        /// The new session.
        session: SessionId,
        /// From the decision to open to ready, tries and pauses between them included.
        took: Duration,
    },
    /// One try at opening failed; there may be more.
    OpenAttemptFailed {
        /// Which try, from 1.
        attempt: u32,
        /// What went wrong.
        error: Arc<OpenError>,
    },
    /// An opening failed for good. Openings back off for `retry_after`.
    OpenFailed {
        /// What went wrong.
        error: Arc<OpenError>,
        /// How long no further opening is tried.
        retry_after: Duration,
    },
    /// A session is leased.
    Acquired {
        /// The session.
        session: SessionId,
        /// It was open when the caller came.
        hit: bool,
        /// How long the caller waited; zero if it was served at once.
        waited: Duration,
    },
    /// A caller was turned away because too many wait already.
    Refused,
    /// A session must answer a probe before it is leased again.
    Suspect {
        /// The session.
        session: SessionId,
    },
    /// A health probe has ended.
    Probed {
        /// The session.
        session: SessionId,
        /// Whether it answered in time.
        alive: bool,
        /// How long that took.
        took: Duration,
        /// A call had run out of time on the session, which is why it was asked.
        after_timeout: bool,
    },
    /// The server forgot an HTTP session and the transport opened another in its place; state kept on the server
    /// under the old one is lost.
    Reinitialized {
        /// The session.
        session: SessionId,
    },
    /// A session has ended, down to its process.
    Closed {
        /// The session.
        session: SessionId,
        /// Why.
        reason: CloseReason,
        /// From ready to the decision to close.
        age: Duration,
        /// Whether a call was ever made on it.
        called: bool,
        /// Whether it ever answered a call or a probe.
        served: bool,
    },
}

/// Receives everything that happens in a pool.
///
/// Called on the path of the calls themselves, outside the pool's lock: an observer must not block. If it
/// panics, the pool goes on as if it had not; the first panic is logged.
pub trait PoolObserver: Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &PoolEvent);
}

impl<F: Fn(&PoolEvent) + Send + Sync + 'static> PoolObserver for F {
    fn on_event(&self, event: &PoolEvent) {
        self(event);
    }
}
