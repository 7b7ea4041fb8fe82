//! What a transport reports of its session, beside the messages.

use std::{
    collections::HashSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{exchange::Exchange, redact::Redactor};

/// What a transport reports of its session, beside the messages.
#[derive(Debug, Default)]
pub struct TransportReport {
    pub(crate) fault: OnceLock<String>,
    pub(crate) noise: AtomicU64,
    /// Bytes of the message that was read last; 0 where the transport does not say.
    pub(crate) size: AtomicUsize,
    pub(crate) reinitialized: watch::Sender<u64>,
    pub(crate) deaf: watch::Sender<bool>,
    pub(crate) log: OnceLock<(Arc<str>, Redactor)>,
    exchange: Arc<Exchange>,
    /// What has been logged about its messages.
    pub(crate) noted: Mutex<HashSet<String>>,
}

impl TransportReport {
    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Logs under the name of the server from now on, without secrets.
    pub(crate) fn log_as(&self, server: &Arc<str>, redactor: &Redactor) {
        let _ = self.log.set((Arc::clone(server), redactor.clone()));
    }

    /// The name of the server, for the log.
    pub(crate) fn server(&self) -> &str {
        self.log.get().map_or("", |(server, _)| server)
    }

    /// Logs what was left out of messages, each once.
    pub(crate) fn left_out(&self, notes: Vec<String>) {
        /// More than a server with a hundred faulty tools needs.
        const MOST: usize = 200;
        for note in notes {
            let mut noted = self.noted.lock();
            if noted.len() < MOST && noted.insert(note.clone()) {
                drop(noted);
                let (server, note) = match self.log.get() {
                    Some((server, redactor)) => (&**server, redactor.apply(note)),
                    None => ("", note),
                };
                tracing::warn!(server, "parts of a server's message were ignored: {note}");
            }
        }
    }

    /// Notes what ended the session. The first word counts: what follows is a consequence.
    pub fn fault(&self, message: impl Into<String>) {
        let _ = self.fault.set(message.into());
    }

    /// Notes how many bytes the message had that is returned next.
    pub fn size(&self, bytes: usize) {
        self.size.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn take_size(&self) -> usize {
        self.size.swap(0, Ordering::Relaxed)
    }

    /// Notes a line that was no message.
    pub fn noise(&self) {
        self.noise.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes whether the session receives no notifications, such as a change of lists or a log message.
    pub fn deaf(&self, is_deaf: bool) {
        self.deaf.send_replace(is_deaf);
    }

    /// Notes that the server had forgotten the session and a new one took its place.
    pub fn reinitialized(&self) {
        self.reinitialized.send_modify(|times| *times += 1);
    }
}
