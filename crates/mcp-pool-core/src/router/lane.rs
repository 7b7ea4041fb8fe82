//! A waiting line: who came first is served first.

use std::collections::BTreeMap;

use super::{Claim, SessionKey};

/// A caller's place in the order of arrival, over all lanes of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(super) u64);

#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) claim: Claim,
    pub(super) waiter: W,
}

/// The callers who compete for the same sessions: all of a pool, or those of one scope.
///
/// A map by ticket and not a queue: a caller that goes away leaves without a trace, and one whose reserved
/// session broke returns to the place that was its own.
#[derive(Debug)]
pub(super) struct Lane<W> {
    pub(super) waiting: BTreeMap<Ticket, Waiting<W>>,
    /// Sessions being opened for this lane.
    pub(super) opening: u32,
    /// The one session of a scope. The shared lane finds its own on the shelves.
    pub(super) session: Option<SessionKey>,
}

impl<W> Lane<W> {
    pub(super) const fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            opening: 0,
            session: None,
        }
    }

    /// The first caller at or after `from`.
    pub(super) fn next_from(&self, from: Ticket) -> Option<(Ticket, Claim)> {
        self.waiting
            .range(from..)
            .next()
            .map(|(ticket, waiting)| (*ticket, waiting.claim))
    }

    pub(super) fn first(&self) -> Option<Ticket> {
        self.waiting.keys().next().copied()
    }
}
