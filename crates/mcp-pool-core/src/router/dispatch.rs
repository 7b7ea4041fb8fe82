//! Hands places to callers, in the order of arrival.

use super::{
    Action, Claim, Grant, Mode, Router, ScopeId, SessionKey, by_load,
    queue::{Ticket, Waiting},
};

impl<S: Clone, W> Router<S, W> {
    /// The session that serves this claim at once.
    pub(super) fn pick(&mut self, scope: Option<ScopeId>, claim: Claim) -> Option<SessionKey> {
        let max = self.limits.max_in_flight;
        match scope {
            None => match claim {
                Claim::Share => self.by_load.least_loaded(max),
                Claim::Whole => self.by_load.idle(),
            }
            .map(SessionKey),
            Some(_) => self
                .queue(scope)?
                .session
                .filter(|&key| self.entries.get(key).can_take(claim, max)),
        }
    }

    pub(super) fn grant(&mut self, key: SessionKey, claim: Claim, came: u64) -> Grant<S> {
        let grant = self.update(key, |entry| {
            entry.load += 1;
            entry.whole = claim == Claim::Whole;
            Grant {
                key,
                session: entry.session.clone(),
                claim,
                hit: entry.born < came,
            }
        });
        self.leases += 1;
        self.warm |= self.sums.load > 1;
        self.file(key);
        grant
    }

    /// Indexes a session by its load, or takes it out of the index if it is not to be leased.
    pub(super) fn file(&mut self, key: SessionKey) {
        let entry = self.entries.get(key);
        if entry.scope.is_none() && entry.usable() && entry.reserved.is_none() {
            let list = if entry.whole {
                by_load::WHOLE
            } else {
                entry.load
            };
            self.by_load.put(&mut self.entries, key.0, list);
        } else {
            self.by_load.remove(&mut self.entries, key.0);
        }
    }

    /// Hands free places to those who wait, first come, first served.
    pub(super) fn dispatch(&mut self, scope: Option<ScopeId>) {
        if self.mode != Mode::Running {
            return;
        }
        while let Some(queue) = self.queue(scope) {
            let (first, reserved) = (queue.line.first_claim(), queue.first_reserved());
            if self.owes_next(scope) && self.pay() {
                continue;
            }
            let line_before = |ticket| first.is_some_and(|(first, _)| first < ticket);
            match reserved.zip(self.at_rest(scope)) {
                Some(((ticket, own), key)) if !line_before(ticket) => {
                    self.hand_over(key, ticket, own);
                    continue;
                }
                // The first in line has lost the session that was reserved for it. It comes before this one's owner.
                Some((_, key)) => {
                    self.unreserve(key);
                    self.file(key);
                }
                None => {}
            }
            let Some((ticket, claim)) = first else {
                return;
            };
            if let Some(key) = self.pick(scope, claim) {
                let waiting = self.leave_line(scope, ticket);
                let waiter = self.left(waiting);
                let grant = self.grant(key, claim, ticket.0);
                self.actions.push(Action::Serve { waiter, grant });
            } else if claim == Claim::Share || !self.reserve(scope, ticket) {
                // Nothing has room, or all is reserved: callers further back cannot be served either.
                return;
            }
        }
    }

    pub(super) fn leave_line(&mut self, scope: Option<ScopeId>, ticket: Ticket) -> Waiting<W> {
        let left = self.queues.update(scope, |queue| queue.line.leave(ticket));
        left.flatten().expect("just seen in line")
    }

    /// Hands free places to all who may be served by a session that is open.
    pub(super) fn dispatch_all(&mut self) {
        for scope in self.queues.attached() {
            self.dispatch(scope);
        }
    }
}
