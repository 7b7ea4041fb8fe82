//! Scaling: when one more session is opened.

use super::{Action, Claim, Mode, Refusal, Router, ScopeId};

impl<S: Clone, W> Router<S, W> {
    /// Asks for as many openings as the load calls for and the limits allow, and refuses those who can no longer
    /// be served. Runs after every event that may have changed either.
    pub(super) fn plan(&mut self) {
        while self.room_to_open() {
            // The scope that has waited longest comes before growth of what is shared.
            let first_shared = self.queues.shared().line.first();
            let scope = match self.queues.first_starved() {
                Some((ticket, scope)) if first_shared.is_none_or(|first| ticket < first) => {
                    Some(scope)
                }
                _ if self.wanted() > self.supply() => None,
                Some((_, scope)) => Some(scope),
                None => break,
            };
            self.opening += 1;
            self.queues.update(scope, |queue| queue.opening += 1);
            self.actions.push(Action::Open { scope });
        }
        if !self.gate_open {
            self.refuse_the_hopeless();
        }
    }

    /// Sessions of the shared queue that serve callers, or soon will.
    pub(super) fn supply(&self) -> u32 {
        self.sums.usable + self.queues.shared().opening
    }

    /// How many sessions the shared queue should have: one per `scale_up_at` calls that run or wait, one for each
    /// caller who wants it alone, and never fewer than the minimum, unless that is not to be kept at present.
    pub(super) fn wanted(&self) -> u32 {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let waits = |claim| count(self.queues.shared().line.count(claim));
        let sums = &self.sums;
        let calls = (sums.load - sums.whole).saturating_add(waits(Claim::Share));
        let wanted = calls
            .div_ceil(self.limits.scale_up_at.max(1))
            .saturating_add(sums.whole + sums.reserved)
            .saturating_add(waits(Claim::Whole));
        if self.warm && !self.refill_paused {
            // One that has a probe to answer nearly always will: nothing is opened in its place.
            wanted.max(self.limits.min_connections.saturating_sub(sums.suspect))
        } else {
            wanted
        }
    }

    /// Whether one more opening may start at all.
    fn room_to_open(&self) -> bool {
        self.gate_open
            && self.has_runtime
            && self.mode == Mode::Running
            && self.opening < self.limits.max_connecting
            && self.places + self.opening < self.limits.max_connections
    }

    /// Whether a caller of this queue has anything to wait for while openings back off.
    pub(super) fn may_be_served(&self, scope: Option<ScopeId>) -> bool {
        self.queue(scope).is_some_and(|queue| {
            queue.opening > 0
                || queue.session.is_some()
                || (scope.is_none() && self.sums.shared > 0)
        })
    }

    fn refuse_the_hopeless(&mut self) {
        while let Some((_, scope)) = self.queues.first_starved() {
            self.refuse_waiting(Some(scope), Refusal::OpenFailed);
        }
        if !self.may_be_served(None) {
            self.refuse_waiting(None, Refusal::OpenFailed);
        }
    }

    pub(super) fn opening_ended(&mut self, scope: Option<ScopeId>) {
        self.opening -= 1;
        self.queues.update(scope, |queue| queue.opening -= 1);
    }
}
