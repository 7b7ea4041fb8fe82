//! What a pool tells whoever listens.

use std::{fmt, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{error::OpenError, lifecycle::SessionId};

/// Why a session was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CloseReason {
    /// Unused for longer than `max_idle_time`, above the minimum.
    Idle,
    /// Older than its share of `max_session_age`.
    Age,
    /// Its transport or its process ended.
    Broken,
    /// It left a health probe unanswered.
    ProbeFailed,
    /// A call that its caller gave up did not end within `cancel_grace`.
    Abandoned,
    /// Replaced by a drain.
    Drained,
    /// Evicted by the program, or under suspicion at a reset.
    Evicted,
    /// The server refused the credentials it was opened with, here or on another session.
    Credentials,
    /// The pool was given fewer places, or another pool needed this one.
    Shrunk,
    /// The scope that owned it has no owner left.
    ScopeEnded,
    /// The pool was shut down.
    Shutdown,
}

impl CloseReason {
    /// All reasons, in the order in which they are declared.
    pub const ALL: [Self; 11] = [
        Self::Idle,
        Self::Age,
        Self::Broken,
        Self::ProbeFailed,
        Self::Abandoned,
        Self::Drained,
        Self::Evicted,
        Self::Credentials,
        Self::Shrunk,
        Self::ScopeEnded,
        Self::Shutdown,
    ];

    /// The name under which the reason appears in status and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Age => "age",
            Self::Broken => "broken",
            Self::ProbeFailed => "probe_failed",
            Self::Abandoned => "abandoned",
            Self::Drained => "drained",
            Self::Evicted => "evicted",
            Self::Credentials => "credentials",
            Self::Shrunk => "shrunk",
            Self::ScopeEnded => "scope_ended",
            Self::Shutdown => "shutdown",
        }
    }

    /// Whether the session itself was at fault. Such a session gets no time to say goodbye.
    #[must_use]
    pub fn is_fault(self) -> bool {
        matches!(self, Self::Broken | Self::ProbeFailed)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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

/// Told of everything that happens in a pool.
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
