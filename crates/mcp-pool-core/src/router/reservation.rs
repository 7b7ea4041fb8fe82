//! Sessions kept free of new leases for a caller who wants one whole.

use super::{
    Action, Caller, Claim, Refusal, Router, ScopeId, SessionKey, Ticket,
    queue::{Queue, Waiting},
};

impl<S: Clone, W> Router<S, W> {
    /// Keeps a session for the first in line, who wants one whole. `false` if none is left to keep.
    pub(super) fn reserve(&mut self, scope: Option<ScopeId>, ticket: Ticket) -> bool {
        let Some(key) = self.reservable(scope) else {
            return false;
        };
        // Only a caller in the foreground wants a session whole: it goes on being counted.
        let waiting = self.leave_line(scope, ticket);
        self.set_reserved(key, ticket, waiting.waiter);
        self.file(key);
        true
    }

    /// The session that a caller who wants it whole should wait for: the one that carries least.
    fn reservable(&mut self, scope: Option<ScopeId>) -> Option<SessionKey> {
        if scope.is_none() {
            let shared = self.by_load.least_loaded(u32::MAX);
            return shared.or_else(|| self.by_load.whole()).map(SessionKey);
        }
        let key = self.queue(scope)?.session?;
        let entry = self.entries.get(key);
        (entry.usable() && entry.reserved.is_none()).then_some(key)
    }

    pub(super) fn any_reserved(&self, scope: Option<ScopeId>) -> bool {
        self.queue(scope)
            .is_some_and(|queue| !queue.reserved.is_empty())
    }

    /// A session that carries nothing, reserved or not.
    pub(super) fn at_rest(&self, scope: Option<ScopeId>) -> Option<SessionKey> {
        match scope {
            None => {
                let reserved = self.rests_reserved.first().copied();
                reserved.or_else(|| self.by_load.idle().map(SessionKey))
            }
            Some(_) => self.queue(scope)?.session.filter(|&key| {
                let entry = self.entries.get(key);
                entry.load == 0 && entry.usable()
            }),
        }
    }

    /// Hands a session at rest to the caller with this ticket, who may have had another reserved. That one is then kept
    /// for the caller from whom the first was taken.
    pub(super) fn hand_over(&mut self, key: SessionKey, ticket: Ticket, own: SessionKey) {
        let waiter = self.take_reserved(own).map(|(_, waiter)| waiter);
        let waiter = waiter.expect("the queue says who has this session reserved");
        if key != own {
            if let Some((other, displaced)) = self.take_reserved(key) {
                self.set_reserved(own, other, displaced);
            }
            self.file(own);
        }
        self.waiters -= 1;
        let grant = self.grant(key, Claim::Whole, ticket.0);
        self.actions.push(Action::Serve { waiter, grant });
    }

    /// Sends who has the session reserved back to its place in line.
    pub(super) fn unreserve(&mut self, key: SessionKey) {
        let scope = self.entries.get(key).scope;
        let Some((ticket, waiter)) = self.take_reserved(key) else {
            return;
        };
        let waiting = Waiting {
            ticket,
            caller: Caller::Foreground,
            claim: Claim::Whole,
            waiter,
        };
        if self.queue(scope).is_some() {
            self.queues.update(scope, |queue| queue.line.join(waiting));
        } else {
            self.refuse(waiting, Refusal::Closed);
        }
    }

    pub(super) fn cancel_reservation(
        &mut self,
        scope: Option<ScopeId>,
        ticket: Ticket,
    ) -> Option<W> {
        let key = *self.queue(scope)?.reserved.get(&ticket)?;
        let (_, waiter) = self.take_reserved(key)?;
        self.file(key);
        Some(waiter)
    }

    fn set_reserved(&mut self, key: SessionKey, ticket: Ticket, waiter: W) {
        let scope = self.entries.get(key).scope;
        self.update(key, |entry| entry.reserved = Some((ticket, waiter)));
        self.queues
            .update(scope, |queue| queue.reserved.insert(ticket, key));
    }

    fn take_reserved(&mut self, key: SessionKey) -> Option<(Ticket, W)> {
        let scope = self.entries.get(key).scope;
        let (ticket, waiter) = self.update(key, |entry| entry.reserved.take())?;
        let forget = |queue: &mut Queue<W>| queue.reserved.remove(&ticket);
        self.queues.update(scope, forget);
        Some((ticket, waiter))
    }
}
