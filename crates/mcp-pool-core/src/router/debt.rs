//! Sessions promised to another pool, which waits like a caller that came at that moment.

use super::{Action, CloseReason, Router, ScopeId};

impl<S: Clone, W> Router<S, W> {
    /// Another pool is to have the place of a session, when those who wait now have been served.
    pub(crate) fn owe(&mut self) {
        let ticket = super::Ticket(self.next_sequence());
        self.owed.get_or_insert(ticket);
        self.dispatch(None);
        self.plan();
    }

    /// No other pool waits any more.
    pub(crate) fn forgive(&mut self) {
        self.owed = None;
    }

    /// Whether it is the other pool's turn.
    pub(super) fn owes_next(&self, scope: Option<ScopeId>) -> bool {
        let queue = self.queues.shared();
        let firsts = [queue.line.first(), queue.reserved.keys().next().copied()];
        let first = firsts.into_iter().flatten().min();
        scope.is_none()
            && self
                .owed
                .is_some_and(|owed| first.is_none_or(|first| owed < first))
    }

    /// Gives a session up: one at rest, or, where many callers share a session and none ever rests, the one that carries
    /// least, when its leases are back.
    pub(super) fn pay(&mut self) -> bool {
        let mut paid = self.at_rest(None);
        if paid.is_none() && self.limits.max_in_flight > 1 {
            paid = self.by_load.least_loaded(u32::MAX).map(super::SessionKey);
        }
        let Some(key) = paid else {
            return false;
        };
        self.owed = None;
        let session = self.entries.get(key).session.clone();
        self.actions.push(Action::Yield { session });
        self.retire(key, CloseReason::Shrunk)
    }
}
