//! Events of a manager, as streams.

use std::{fmt, sync::Arc, time::Duration};

use mcp_breaker::{State, TransitionReason};
use mcp_metrics::AlertEvent;
use mcp_pool_core::{CloseReason, SessionId};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};

/// An event of a session, a breaker or an alert. Calls are not among them: see
/// [`ConnectionManager::summary`](crate::ConnectionManager::summary).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A session is being opened.
    #[non_exhaustive]
    SessionOpening {
        /// Its server.
        server: Arc<str>,
        /// The session to be.
        session: SessionId,
    },
    /// A session is ready.
    #[non_exhaustive]
    SessionOpened {
        /// Its server.
        server: Arc<str>,
        /// The session.
        session: SessionId,
        /// How long that took, in seconds.
        #[serde(rename = "took_seconds", serialize_with = "crate::status::seconds")]
        took: Duration,
    },
    /// An opening failed for good.
    #[non_exhaustive]
    OpenFailed {
        /// The server.
        server: Arc<str>,
        /// What went wrong.
        error: String,
        /// How long no further opening is tried, in seconds.
        #[serde(
            rename = "retry_after_seconds",
            serialize_with = "crate::status::seconds"
        )]
        retry_after: Duration,
    },
    /// A session must answer a probe before it is used again.
    #[non_exhaustive]
    SessionSuspect {
        /// Its server.
        server: Arc<str>,
        /// The session.
        session: SessionId,
    },
    /// A health probe has ended.
    #[non_exhaustive]
    SessionProbed {
        /// Its server.
        server: Arc<str>,
        /// The session.
        session: SessionId,
        /// Whether it answered in time.
        alive: bool,
        /// How long that took, in seconds.
        #[serde(rename = "took_seconds", serialize_with = "crate::status::seconds")]
        took: Duration,
    },
    /// The server forgot an HTTP session, and the transport opened another in its place.
    #[non_exhaustive]
    SessionReinitialized {
        /// Its server.
        server: Arc<str>,
        /// The session.
        session: SessionId,
    },
    /// A session has ended, down to its process.
    #[non_exhaustive]
    SessionClosed {
        /// Its server.
        server: Arc<str>,
        /// The session.
        session: SessionId,
        /// Why.
        reason: CloseReason,
        /// How old it was, in seconds.
        #[serde(rename = "age_seconds", serialize_with = "crate::status::seconds")]
        age: Duration,
    },
    /// The server said that one of its lists has changed.
    #[non_exhaustive]
    ListChanged {
        /// Its server.
        server: Arc<str>,
        /// The method that lists it: `tools/list`, `prompts/list` or `resources/list`.
        list: &'static str,
    },
    /// The circuit breaker changed its state.
    #[non_exhaustive]
    Breaker {
        /// Its server.
        server: Arc<str>,
        /// The state left.
        from: State,
        /// The state entered.
        to: State,
        /// Why.
        reason: TransitionReason,
    },
    /// An alert was raised, became critical, or was resolved.
    Alert(AlertEvent),
    /// The reader was too slow: so many events that came before this are lost to it.
    #[non_exhaustive]
    Missed {
        /// How many.
        count: u64,
    },
}

impl Event {
    /// The server it is about; `None` if it is about none, or about all.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::SessionOpening { server, .. }
            | Self::SessionOpened { server, .. }
            | Self::OpenFailed { server, .. }
            | Self::SessionSuspect { server, .. }
            | Self::SessionProbed { server, .. }
            | Self::SessionReinitialized { server, .. }
            | Self::SessionClosed { server, .. }
            | Self::ListChanged { server, .. }
            | Self::Breaker { server, .. } => Some(server),
            Self::Alert(change) => Some(&change.alert().server),
            Self::Missed { .. } => None,
        }
    }
}

/// The events of a manager from the moment of asking: [`ConnectionManager::events`](crate::ConnectionManager::events).
///
/// The last 1,024 are kept for a reader that is slower than they come; beyond that it loses the oldest, and learns how
/// many.
#[derive(Debug)]
pub struct EventStream(broadcast::Receiver<Event>);

impl EventStream {
    /// The next event; `None` once the manager has been shut down.
    ///
    /// # Cancel safety
    /// May be dropped at any point: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(count)) => Some(Event::Missed { count }),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Sends events to all streams; works without one.
#[derive(Clone)]
pub(crate) struct Events(Arc<Mutex<Option<broadcast::Sender<Event>>>>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(broadcast::channel(KEPT).0))))
    }

    pub(crate) fn listen(&self) -> EventStream {
        let sender = self.0.lock();
        EventStream(match &*sender {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        })
    }

    /// Emits an event, which is only made if there is a stream.
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        // Made outside the lock.
        let sender = self.0.lock().clone();
        if let Some(sender) = sender.filter(|sender| sender.receiver_count() > 0) {
            // The last stream may just have gone.
            let _ = sender.send(event());
        }
    }

    /// No more events: every stream ends.
    pub(crate) fn end(&self) {
        self.0.lock().take();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

/// Events kept for slow readers.
const KEPT: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(count: u64) -> Event {
        Event::Missed { count }
    }

    #[tokio::test]
    async fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
        let events = Events::new();
        let mut reader = events.listen();
        for number in 0..KEPT as u64 + 10 {
            events.emit(|| missed(1_000 + number));
        }
        let mut counts = Vec::new();
        events.end();
        while let Some(Event::Missed { count }) = reader.next().await {
            counts.push(count);
        }
        let expected = [10].into_iter().chain(1_010..1_010 + KEPT as u64);
        assert_eq!(counts, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_stream_that_is_asked_for_too_late_is_over() {
        let events = Events::new();
        events.end();
        assert!(events.listen().next().await.is_none());
    }

    #[test]
    fn nothing_is_made_of_an_event_for_which_nobody_listens() {
        Events::new().emit(|| unreachable!("there is no stream"));
    }
}
