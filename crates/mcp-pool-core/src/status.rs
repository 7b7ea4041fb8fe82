//! Status of a pool at one moment, for display and JSON.

use std::{collections::BTreeMap, time::Duration};

use serde::{Serialize, Serializer};

use crate::{
    lifecycle::{CloseReason, Era, SessionId, SessionState},
    options::SharingMode,
};

/// A pool at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SessionPoolStatus {
    /// The pool's name: that of its server.
    pub server: String,
    /// The same, under the name that it has always had here.
    pub server_name: String,
    /// Who may share a session.
    pub sharing: SharingMode,
    /// Sessions by state.
    pub connections: Connections,
    /// Leases out.
    pub in_flight: u32,
    /// Leases that could be out at the maximum size.
    pub capacity: u32,
    /// Callers that wait.
    pub waiters: usize,
    /// How long the first of them has waited, in seconds.
    #[serde(rename = "longest_wait_seconds", serialize_with = "seconds")]
    pub longest_wait: Duration,
    /// Leases of sessions that were open when the caller came.
    pub pool_hits: u64,
    /// Leases that waited for an opening.
    pub pool_misses: u64,
    /// Callers turned away because too many waited.
    pub refused: u64,
    /// Sessions opened since the pool was made.
    pub opened: u64,
    /// Sessions closed since then, by reason.
    pub closed: BTreeMap<CloseReason, u64>,
    /// Openings that failed for good, probes that were not answered and sessions that broke, by phase.
    pub errors: BTreeMap<&'static str, u64>,
    /// HTTP sessions that the server had dropped (404) and that were reinitialized.
    pub reinitialized: u64,
    /// The last failure to open, until an opening succeeds.
    pub last_error: Option<String>,
    /// Seconds until openings are tried again after a failure.
    #[serde(rename = "retry_after_seconds", serialize_with = "optional_seconds")]
    pub retry_after: Option<Duration>,
    /// Callers are made to wait.
    pub suspended: bool,
    /// The pool takes no more callers.
    pub closed_for_good: bool,
    /// Each session, the oldest first.
    pub sessions: Vec<SessionStatus>,
}

/// Sessions by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Connections {
    /// Ready and unused.
    pub idle: u32,
    /// Ready and in use.
    pub active: u32,
    /// Being opened.
    pub connecting: u32,
    /// Being closed.
    pub closing: u32,
    /// All of these.
    pub total: u32,
    /// What the pool is kept at.
    pub min: u32,
    /// What it may grow to.
    pub max: u32,
}

/// A session at one moment.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SessionStatus {
    /// Its name.
    pub id: SessionId,
    /// How far it has come.
    pub state: SessionState,
    /// How it speaks MCP; unknown until it is ready.
    pub era: Option<Era>,
    /// Since it was ready; while it is being opened, since that began. In seconds.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub age: Duration,
    /// Since its last lease came back, in seconds; zero while it is in use.
    #[serde(rename = "idle_seconds", serialize_with = "seconds")]
    pub idle: Duration,
    /// Leases out.
    pub in_flight: u32,
    /// Calls made on it.
    pub calls: u64,
    /// The process that serves it, if it is one of ours.
    pub pid: Option<u32>,
    /// Lines on its stdout that were no messages.
    pub noise_lines: u64,
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // To the millisecond: more is noise in a status.
    #[allow(clippy::cast_precision_loss, reason = "centuries of milliseconds fit")]
    serializer.serialize_f64(duration.as_millis() as f64 / 1000.0)
}

#[allow(clippy::ref_option, reason = "the signature is serde's")]
fn optional_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => seconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}
