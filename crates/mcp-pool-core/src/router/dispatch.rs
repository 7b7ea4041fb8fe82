//! Handing places out, in the order of arrival.

use super::{Action, Claim, Grant, Mode, Router, ScopeId, SessionKey, lane::Ticket};

impl<S: Clone, W> Router<S, W> {
    /// The session that serves this claim at once.
    pub(super) fn pick(&mut self, scope: Option<ScopeId>, claim: Claim) -> Option<SessionKey> {
        match scope {
            None => match claim {
                Claim::Share => self.shelves.least_loaded(),
                Claim::Whole => self.shelves.idle(),
            }
            .map(SessionKey),
            Some(_) => {
                let max = self.limits.max_in_flight;
                self.lane(scope)?
                    .session
                    .filter(|&key| self.entries.get(key).can_take(claim, max))
            }
        }
    }

    pub(super) fn grant(&mut self, key: SessionKey, claim: Claim, came: u64) -> Grant<S> {
        let entry = self.entries.get_mut(key);
        entry.load += 1;
        entry.whole = claim == Claim::Whole;
        let grant = Grant {
            key,
            session: entry.session.clone(),
            claim,
            hit: entry.born < came,
        };
        if entry.scope.is_none() {
            self.usable_load += 1;
        }
        self.file(key);
        grant
    }

    /// Puts a session where its load says, or off the shelves if it takes no more.
    pub(super) fn file(&mut self, key: SessionKey) {
        let entry = self.entries.get(key);
        if entry.scope.is_none() && entry.can_take(Claim::Share, self.limits.max_in_flight) {
            let load = entry.load;
            self.shelves.put(&mut self.entries, key.0, load);
        } else {
            self.shelves.remove(&mut self.entries, key.0);
        }
    }

    /// Hands free places to those who wait, first come, first served.
    pub(super) fn dispatch(&mut self, scope: Option<ScopeId>) {
        if self.mode != Mode::Running {
            return;
        }
        self.reconsider_reservations(scope);
        let mut from = Ticket(0);
        while let Some((ticket, claim)) =
            self.lane(scope).and_then(|lane| lane.line.next_from(from))
        {
            if let Some(key) = self.pick(scope, claim) {
                let waiter = self.leave_line(scope, ticket);
                self.waiters -= 1;
                let grant = self.grant(key, claim, ticket.0);
                self.actions.push(Action::Serve { waiter, grant });
            } else if claim == Claim::Share {
                // Nothing has room, so nobody behind can be served either: an idle session has room.
                return;
            } else {
                // Also where one more may be opened: that may take for ever. If it comes first, it serves.
                if let Some(key) = self.reservable(scope) {
                    let waiter = self.leave_line(scope, ticket);
                    self.entries.get_mut(key).reserved = Some((ticket, waiter));
                    self.reservations += 1;
                    self.file(key);
                } else if !self.can_grow(scope) {
                    return;
                }
                from = Ticket(ticket.0 + 1);
            }
        }
    }

    fn leave_line(&mut self, scope: Option<ScopeId>, ticket: Ticket) -> W {
        let lane = self.lane_mut(scope).expect("just seen");
        lane.line.leave(ticket).expect("just seen in line")
    }

    pub(super) fn dispatch_all(&mut self) {
        for scope in self.all_lanes() {
            self.dispatch(scope);
        }
    }
}
