//! The life of a session: its name, its states, and how to watch or to end it.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// Names a session within its process. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct SessionId(u64);

impl SessionId {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number by which it goes in status and log.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How far a session has come. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionState {
    /// Being opened: process, connection, handshake.
    Initializing,
    /// Ready for calls.
    Ready,
    /// It could not be opened, or it broke.
    Error,
    /// Being closed, or closed.
    Shutdown,
}

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

/// The two ways of speaking MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Era {
    /// Up to protocol version 2025-11-25: `initialize`, `ping`, sessions on the server.
    Legacy,
    /// From protocol version 2026-07-28: `server/discover`, every request stands alone.
    Modern,
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        })
    }
}

/// The life of a session as others may watch it, from before it is ready until after it has ended.
#[derive(Clone, Debug)]
pub struct SessionLifecycle {
    id: SessionId,
    since: Instant,
    state: watch::Sender<SessionState>,
    shutdown: CancellationToken,
}

impl SessionLifecycle {
    pub(crate) fn begin() -> Self {
        Self {
            id: SessionId::next(),
            since: Instant::now(),
            state: watch::Sender::new(SessionState::Initializing),
            shutdown: CancellationToken::new(),
        }
    }

    /// The session's name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// How far the session has come.
    #[must_use]
    pub fn state(&self) -> SessionState {
        *self.state.borrow()
    }

    /// A receiver that sees every later state.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    /// Waits until the session is ready (`true`) or can no longer become so (`false`).
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn wait_ready(&self) -> bool {
        let mut states = self.state.subscribe();
        let settled = states
            .wait_for(|state| *state != SessionState::Initializing)
            .await;
        matches!(settled.as_deref(), Ok(SessionState::Ready))
    }

    /// Asks for the session to be closed: it takes no more leases, those that are out may finish.
    pub fn request_shutdown(&self) {
        self.shutdown.cancel();
    }

    pub(crate) fn shutdown_requested(&self) -> &CancellationToken {
        &self.shutdown
    }

    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Moves on; never back.
    pub(crate) fn advance(&self, to: SessionState) {
        self.state.send_if_modified(|state| {
            let forward = to > *state;
            if forward {
                *state = to;
            }
            forward
        });
    }
}
