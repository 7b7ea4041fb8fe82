//! FIFO queue of waiting callers.

use std::collections::{BTreeMap, VecDeque, vec_deque};

use super::{Caller, Claim, CloseReason, SessionKey};

/// A caller's place in the order of arrival, over all queues of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(super) u64);

#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) ticket: Ticket,
    pub(super) caller: Caller,
    pub(super) claim: Claim,
    pub(super) waiter: W,
}

/// Callers in the order of their tickets.
///
/// They come at the end and, unless they give up, go at the front, which costs the same for ten as for ten thousand.
/// One who leaves from the middle, or returns there because its reserved session broke, is found by bisection and
/// moves the shorter half of the line by one.
#[derive(Debug)]
pub(super) struct Line<W> {
    waiting: VecDeque<Waiting<W>>,
    /// Those of them who want a session whole.
    wholes: usize,
}

/// The callers who compete for the same sessions: all of a pool, or those of one scope.
#[derive(Debug)]
pub(super) struct Queue<W> {
    pub(super) line: Line<W>,
    /// Sessions being opened for this queue.
    pub(super) opening: u32,
    /// The one session of a scope. Those of the shared queue are in the index by load.
    pub(super) session: Option<SessionKey>,
    /// Callers who have left the line because a session is reserved for them.
    pub(super) reserved: BTreeMap<Ticket, SessionKey>,
    /// Why a scope has lost the session that held its state, until its next caller has been given this as an error.
    pub(super) lost: Option<CloseReason>,
}

/// Whether callers of a queue wait, and since which ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueState {
    Empty,
    /// No session is open or being opened for them.
    Starved(Ticket),
    Attached(Ticket),
}

impl<W> Queue<W> {
    pub(super) const fn new() -> Self {
        Self {
            line: Line::new(),
            opening: 0,
            session: None,
            reserved: BTreeMap::new(),
            lost: None,
        }
    }

    /// The caller who has waited longest, of those who have a session reserved.
    pub(super) fn first_reserved(&self) -> Option<(Ticket, SessionKey)> {
        self.reserved
            .first_key_value()
            .map(|(ticket, key)| (*ticket, *key))
    }

    pub(super) fn state(&self) -> QueueState {
        let reserved = self.reserved.keys().next().copied();
        match [self.line.first(), reserved].into_iter().flatten().min() {
            None => QueueState::Empty,
            Some(ticket) if self.session.is_none() && self.opening == 0 => {
                QueueState::Starved(ticket)
            }
            Some(ticket) => QueueState::Attached(ticket),
        }
    }
}

impl<W> Line<W> {
    const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            wholes: 0,
        }
    }

    pub(super) fn join(&mut self, waiting: Waiting<W>) {
        self.wholes += usize::from(waiting.claim == Claim::Whole);
        if self
            .waiting
            .back()
            .is_none_or(|last| last.ticket < waiting.ticket)
        {
            self.waiting.push_back(waiting);
        } else {
            let at = self.position(waiting.ticket);
            self.waiting.insert(at, waiting);
        }
    }

    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waiting<W>> {
        let first = self.first() == Some(ticket);
        let at = if first { 0 } else { self.position(ticket) };
        if self.waiting.get(at)?.ticket != ticket {
            return None;
        }
        let left = self.waiting.remove(at)?;
        self.wholes -= usize::from(left.claim == Claim::Whole);
        Some(left)
    }

    /// Sends everybody away.
    pub(super) fn disperse(&mut self) -> vec_deque::IntoIter<Waiting<W>> {
        self.wholes = 0;
        std::mem::take(&mut self.waiting).into_iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many want this of a session.
    pub(super) fn count(&self, claim: Claim) -> usize {
        match claim {
            Claim::Whole => self.wholes,
            Claim::Share => self.waiting.len() - self.wholes,
        }
    }

    pub(super) fn first(&self) -> Option<Ticket> {
        self.waiting.front().map(|waiting| waiting.ticket)
    }

    pub(super) fn first_claim(&self) -> Option<(Ticket, Claim)> {
        let first = self.waiting.front()?;
        Some((first.ticket, first.claim))
    }

    pub(super) fn first_waiting(&self) -> Option<&Waiting<W>> {
        self.waiting.front()
    }

    fn position(&self, ticket: Ticket) -> usize {
        self.waiting
            .partition_point(|waiting| waiting.ticket < ticket)
    }
}
