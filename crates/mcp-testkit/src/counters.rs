//! Counters of a server, by which a test shows that a request arrived or did not.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use serde::Serialize;

/// A copy of all counters of a server at one moment.
///
/// The `stats` tool answers with the same thing, for servers in processes of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Stats {
    /// Requests by method, openings and refused ones included.
    pub requests: BTreeMap<String, u64>,
    /// Tool calls by tool.
    pub calls: BTreeMap<String, u64>,
    /// `notifications/cancelled` received.
    pub cancelled: u64,
    /// Calls cut short, in the order in which they were.
    pub interruptions: Vec<Interruption>,
    /// `initialize` requests answered with success.
    pub initializations: u64,
    /// `server/discover` requests answered with success.
    pub discoveries: u64,
    /// Tool calls that began while another was running.
    pub overlaps: u64,
}

/// A call that was cancelled, or lost its client, while it ran.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Interruption {
    /// The tool.
    pub tool: String,
    /// How long it had run.
    pub after: Duration,
}

/// The live counters, shared by all sessions of a server.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    requests: Mutex<BTreeMap<String, u64>>,
    calls: Mutex<BTreeMap<String, u64>>,
    interruptions: Mutex<Vec<Interruption>>,
    cancelled: AtomicU64,
    initializations: AtomicU64,
    discoveries: AtomicU64,
    overlaps: AtomicU64,
}

impl Counters {
    pub(crate) fn request(&self, method: &str) {
        raise(&self.requests, method);
    }

    pub(crate) fn call(&self, tool: &str) {
        raise(&self.calls, tool);
    }

    pub(crate) fn cancelled(&self) {
        self.cancelled.fetch_add(1, Relaxed);
    }

    pub(crate) fn interrupted(&self, tool: &str, after: Duration) {
        self.interruptions.lock().push(Interruption {
            tool: tool.to_owned(),
            after,
        });
    }

    pub(crate) fn initialized(&self) {
        self.initializations.fetch_add(1, Relaxed);
    }

    pub(crate) fn discovered(&self) {
        self.discoveries.fetch_add(1, Relaxed);
    }

    pub(crate) fn overlapped(&self) {
        self.overlaps.fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            requests: self.requests.lock().clone(),
            calls: self.calls.lock().clone(),
            cancelled: self.cancelled.load(Relaxed),
            interruptions: self.interruptions.lock().clone(),
            initializations: self.initializations.load(Relaxed),
            discoveries: self.discoveries.load(Relaxed),
            overlaps: self.overlaps.load(Relaxed),
        }
    }
}

fn raise(counts: &Mutex<BTreeMap<String, u64>>, key: &str) {
    let mut counts = counts.lock();
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.to_owned(), 1);
        }
    }
}
