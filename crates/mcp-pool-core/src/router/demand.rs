//! When one more session is opened.

use super::{Action, Claim, Mode, Refusal, Router, ScopeId, Stage, entry::Entry};

impl<S: Clone, W> Router<S, W> {
    /// Asks for as many openings as the load calls for and the limits allow, and refuses those who can no longer
    /// be served. Runs after every event that may have changed either.
    pub(super) fn plan(&mut self) {
        while self.room_to_open() {
            // Whoever has waited longest for a scope of its own comes before growth of what is shared.
            let pinned = self
                .scopes
                .iter()
                .filter(|(_, lane)| lane.session.is_none() && lane.opening == 0)
                .filter_map(|(scope, lane)| Some((lane.line.first()?, *scope)))
                .min();
            let scope = match pinned {
                Some((ticket, scope))
                    if self.shared.line.first().is_none_or(|first| ticket < first) =>
                {
                    Some(scope)
                }
                _ if self.wanted() > self.supply() => None,
                Some((_, scope)) => Some(scope),
                None => break,
            };
            self.opening += 1;
            self.lane_mut(scope)
                .expect("chosen among the lanes there are")
                .opening += 1;
            self.actions.push(Action::Open { scope });
        }
        if !self.gate_open {
            self.refuse_the_hopeless();
        }
    }

    /// Sessions of the shared lane that serve callers, or soon will.
    pub(super) fn supply(&self) -> u32 {
        self.usable + self.shared.opening
    }

    /// How many sessions the shared lane should have: one per `scale_up_at` calls that run or wait, one for each
    /// caller who wants it alone, and never fewer than the minimum, unless that is not to be kept at present.
    fn wanted(&self) -> u32 {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let waits = |claim| count(self.shared.line.count(claim));
        let shared = |entry: &&Entry<S, W>| entry.scope.is_none() && entry.usable();
        let entries = || self.entries.iter().map(|(_, entry)| entry);
        let suspect = |entry: &&Entry<S, W>| {
            entry.scope.is_none() && entry.suspect && entry.stage == Stage::Live
        };
        let held_whole = count(entries().filter(shared).filter(|entry| entry.whole).count());
        let reserved = count(
            entries()
                .filter(shared)
                .filter(|entry| entry.reserved.is_some())
                .count(),
        );
        let calls = (self.usable_load - held_whole).saturating_add(waits(Claim::Share));
        let wanted = calls
            .div_ceil(self.limits.scale_up_at.max(1))
            .saturating_add(held_whole + reserved)
            .saturating_add(waits(Claim::Whole));
        if self.warm && !self.refill_paused {
            // One that has a probe to answer nearly always will: nothing is opened in its place.
            let expected = count(entries().filter(suspect).count());
            wanted.max(self.limits.min_connections.saturating_sub(expected))
        } else {
            wanted
        }
    }

    /// Whether one more opening may start at all.
    fn room_to_open(&self) -> bool {
        self.gate_open
            && self.housed
            && self.mode == Mode::Running
            && self.opening < self.limits.max_connecting
            && self.places + self.opening < self.limits.max_connections
    }

    /// Whether a caller of this lane can hope for a session that is not open yet.
    pub(super) fn can_grow(&self, scope: Option<ScopeId>) -> bool {
        let Some(lane) = self.lane(scope) else {
            return false;
        };
        let owned = scope.is_some() && lane.session.is_some();
        lane.opening > 0
            || !owned
                && self.gate_open
                && self.housed
                && self.places + self.opening < self.limits.max_connections
    }

    /// Whether a caller of this lane has anything to wait for while openings back off.
    pub(super) fn may_be_served(&self, scope: Option<ScopeId>) -> bool {
        let live = || {
            self.entries
                .iter()
                .any(|(_, entry)| entry.scope.is_none() && entry.stage == Stage::Live)
        };
        self.lane(scope).is_some_and(|lane| {
            lane.opening > 0 || lane.session.is_some() || (scope.is_none() && live())
        })
    }

    fn refuse_the_hopeless(&mut self) {
        for scope in self.all_lanes() {
            if self.anyone_waits(scope) && !self.may_be_served(scope) {
                self.refuse_waiting(scope, Refusal::OpenFailed);
            }
        }
    }

    pub(super) fn opening_ended(&mut self, scope: Option<ScopeId>) {
        self.opening -= 1;
        if let Some(lane) = self.lane_mut(scope) {
            lane.opening -= 1;
        }
    }
}
