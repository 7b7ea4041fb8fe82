//! Sessions kept free of new leases for a caller who wants one whole.

use super::{Claim, Refusal, Router, ScopeId, SessionKey, Ticket, entry::Entry, lane::Waiting};

impl<S: Clone, W> Router<S, W> {
    /// The session that a caller who wants it whole should wait for: the one that carries least.
    pub(super) fn reservable(&self, scope: Option<ScopeId>) -> Option<SessionKey> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.scope == scope && entry.usable() && entry.reserved.is_none())
            .min_by_key(|(_, entry)| (entry.whole, entry.load))
            .map(|(key, _)| key)
    }

    pub(super) fn any_reserved(&self, scope: Option<ScopeId>) -> bool {
        let reserved = |entry: &Entry<S, W>| entry.scope == scope && entry.reserved.is_some();
        // The count spares the usual case the look.
        self.reservations > 0 && self.entries.iter().any(|(_, entry)| reserved(entry))
    }

    /// A session has come to rest, and it need not be the one that the first in line has reserved. So all who have
    /// one go back to their places in line, and the line is served anew, in order.
    pub(super) fn reconsider_reservations(&mut self, scope: Option<ScopeId>) {
        let at_rest =
            |entry: &Entry<S, W>| entry.scope == scope && entry.usable() && entry.load == 0;
        if !self.any_reserved(scope) || !self.entries.iter().any(|(_, entry)| at_rest(entry)) {
            return;
        }
        for key in self.keys() {
            if self.entries.get(key).scope == scope && self.entries.get(key).reserved.is_some() {
                self.unreserve(key);
                self.file(key);
            }
        }
    }

    /// Sends who has the session reserved back to its place in line.
    pub(super) fn unreserve(&mut self, key: SessionKey) {
        let entry = self.entries.get_mut(key);
        let scope = entry.scope;
        let Some((ticket, waiter)) = entry.reserved.take() else {
            return;
        };
        self.reservations -= 1;
        match self.lane_mut(scope) {
            Some(lane) => lane.line.join(Waiting {
                ticket,
                claim: Claim::Whole,
                waiter,
            }),
            None => self.refuse(waiter, Refusal::Closed),
        }
    }

    pub(super) fn cancel_reservation(&mut self, ticket: Ticket) -> Option<W> {
        let key = self
            .entries
            .iter()
            .find(|(_, entry)| {
                entry
                    .reserved
                    .as_ref()
                    .is_some_and(|(reserved, _)| *reserved == ticket)
            })
            .map(|(key, _)| key)?;
        let entry = self.entries.get_mut(key);
        let (_, waiter) = entry.reserved.take()?;
        self.reservations -= 1;
        self.file(key);
        Some(waiter)
    }
}
