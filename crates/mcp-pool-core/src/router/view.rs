//! What the shell and the status may know of the router's state.

use super::{Limits, Router, ScopeId, SessionKey, Stage};

impl<S: Clone, W> Router<S, W> {
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn waiters(&self) -> usize {
        self.waiters
    }

    pub(crate) fn opening(&self) -> u32 {
        self.opening
    }

    /// Sessions that hold a place, with their leases, in no particular order.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (SessionKey, &S, Stage, u32)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.stage != Stage::Ended)
            .map(|(key, entry)| (key, &entry.session, entry.stage, entry.load))
    }

    /// Live sessions that must answer a probe before their next lease.
    pub(crate) fn suspects(&self) -> Vec<SessionKey> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.suspect && entry.stage == Stage::Live)
            .map(|(key, _)| key)
            .collect()
    }

    /// Live sessions without a lease, the longest unused first; pinned ones last.
    pub(crate) fn idle_oldest_first(&self) -> Vec<(SessionKey, S)> {
        let pinned = self.entries.iter().filter(|(_, entry)| {
            entry.scope.is_some() && entry.load == 0 && entry.usable() && entry.reserved.is_none()
        });
        self.shelves
            .idle_oldest_first(&self.entries)
            .map(SessionKey)
            .map(|key| (key, self.entries.get(key)))
            .chain(pinned)
            .map(|(key, entry)| (key, entry.session.clone()))
            .collect()
    }

    /// Live sessions, those that carry least first.
    pub(crate) fn sessions_by_load(&self) -> Vec<(SessionKey, u32)> {
        let live = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.stage == Stage::Live);
        let mut sessions: Vec<_> = live.map(|(key, entry)| (key, entry.load)).collect();
        sessions.sort_by_key(|(_, load)| *load);
        sessions
    }

    /// The session under a key, if that still names one.
    pub(crate) fn session(&self, key: SessionKey) -> Option<S> {
        self.entries
            .0
            .get(key.0 as usize)
            .map(|entry| entry.session.clone())
    }

    /// Whoever has waited longest.
    pub(crate) fn first_waiter(&self) -> Option<&W> {
        let lanes = self.scopes.values().chain([&self.shared]);
        let in_line = lanes.filter_map(|lane| lane.line.first_waiting());
        let in_line = in_line.map(|first| (first.ticket, &first.waiter));
        let reserved = self
            .entries
            .iter()
            .filter_map(|(_, entry)| entry.reserved.as_ref());
        in_line
            .chain(reserved.map(|(ticket, waiter)| (*ticket, waiter)))
            .min_by_key(|(ticket, _)| *ticket)
            .map(|(_, w)| w)
    }

    /// Whoever has waited longest in this lane.
    pub(crate) fn first_in_lane(&self, scope: Option<ScopeId>) -> Option<&W> {
        let lane = self.lane(scope)?;
        let first = lane.line.first_waiting();
        let reserved = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.scope == scope)
            .filter_map(|(_, entry)| entry.reserved.as_ref());
        reserved
            .map(|(ticket, waiter)| (*ticket, waiter))
            .chain(first.map(|first| (first.ticket, &first.waiter)))
            .min_by_key(|(ticket, _)| *ticket)
            .map(|(_, waiter)| waiter)
    }

    /// Whether a session of this lane has a probe to answer.
    pub(crate) fn anything_suspect(&self, scope: Option<ScopeId>) -> bool {
        self.entries
            .iter()
            .any(|(_, entry)| entry.scope == scope && entry.suspect && entry.stage == Stage::Live)
    }

    /// Sessions a caller can be given, now or after a probe.
    pub(crate) fn live(&self) -> u32 {
        let live = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.stage == Stage::Live)
            .count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }
}
