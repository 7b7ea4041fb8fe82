//! Limit on messages that wait for a server that does not read.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Messages, and bytes of several of them, that may wait.
pub(crate) const MAX_MESSAGES: usize = 1_000;
const MAX_BYTES: usize = 1024 * 1024;

/// Messages of a session that are no requests and have not been written yet. Requests are bounded by their callers.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    excess: Notify,
}

/// Counts one message until it is written or given up.
#[derive(Debug)]
pub(crate) struct QueuedMessage {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Backlog {
    /// Counts a message of so many bytes.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> QueuedMessage {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.is_excessive() {
            self.excess.notify_one();
        }
        QueuedMessage {
            backlog: Arc::clone(self),
            bytes,
        }
    }

    /// Whether more waits than may.
    pub(crate) fn is_excessive(&self) -> bool {
        let messages = self.messages.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        // A single answer may be as large as its caller made it.
        messages > MAX_MESSAGES || bytes > MAX_BYTES && messages > 1
    }

    /// Waits until more may wait than does: to be followed by a look.
    pub(crate) async fn excess(&self) {
        self.excess.notified().await;
    }

    /// How much waits, in words.
    pub(crate) fn describe(&self) -> String {
        let messages = self.messages.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        format!("{messages} messages ({bytes} bytes) wait to be written")
    }
}

impl Drop for QueuedMessage {
    fn drop(&mut self) {
        self.backlog.messages.fetch_sub(1, Ordering::Relaxed);
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
