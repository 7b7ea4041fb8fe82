//! A pool as its budget sees it: since when callers wait, and which session can make room.

use std::time::Duration;

use tokio::time::Instant;

use super::{Demand, Eviction};
use crate::router::ScopeId;

/// A pool, as the others see it. Each answer costs the same for a large pool as for a small one.
pub(crate) trait Member: Send + Sync {
    /// Since when the first of these callers waits.
    fn waiting_since(&self, whose: Waiting) -> Option<Instant>;
    fn demand(&self) -> &Demand;
    fn sessions(&self) -> Sessions;
    /// How long the longest unused idle session has been unused.
    fn longest_unused(&self) -> Option<Duration>;
    /// Closes that session to make room. `false` if none is idle any more.
    fn let_go(&self, eviction: Eviction) -> bool;
    /// Promises the first session that becomes idle once the current waiters have been served. Returns the number of
    /// the promise, `None` if another one is still to be kept.
    fn owe(&self, eviction: Eviction) -> Option<u64>;
    /// Whether the promise is still to be kept.
    fn owes(&self, promise: u64) -> bool;
    /// Takes the promise back, unless it has been kept.
    fn forgive(&self, promise: u64) -> Option<Eviction>;
}

/// Whose callers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    InQueue(Option<ScopeId>),
    Anywhere,
}

/// The sessions of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sessions {
    pub(crate) live: u32,
    /// Those that may be given up: no scope's own, and not held by one caller alone.
    pub(crate) shared: u32,
    /// One is promised already.
    pub(crate) owed: bool,
}
