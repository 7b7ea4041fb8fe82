//! What the shell and the status may know of the router's state.

use super::{Limits, Mode, Router, ScopeId, SessionKey, Stage, Ticket};

/// A session that takes leases.
#[derive(Debug)]
pub(crate) struct LiveSession<S> {
    pub(crate) key: SessionKey,
    pub(crate) session: S,
    pub(crate) load: u32,
    /// It may be leased, carries nothing, and is kept for no caller.
    pub(crate) rests: bool,
    /// It holds the state of a scope that has an owner.
    pub(crate) owned: bool,
}

impl<S: Clone, W> Router<S, W> {
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.mode == Mode::Suspended
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.mode == Mode::Closed
    }

    /// Callers who wait, but for those in the background.
    pub(crate) fn waiters(&self) -> usize {
        self.waiters
    }

    pub(crate) fn leases(&self) -> usize {
        self.leases
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

    /// Live sessions: those of the shared queue that rest first, the longest unused before the others.
    pub(crate) fn live_sessions(&self) -> Vec<LiveSession<S>> {
        let idle = self.by_load.idle_oldest_first(&self.entries);
        let others = self.entries.iter().filter(|(key, entry)| {
            entry.stage == Stage::Live && (entry.scope.is_some() || !self.rests(*key))
        });
        idle.map(SessionKey)
            .chain(others.map(|(key, _)| key))
            .map(|key| {
                let entry = self.entries.get(key);
                LiveSession {
                    key,
                    session: entry.session.clone(),
                    load: entry.load,
                    rests: self.rests(key),
                    owned: self.is_owned(key),
                }
            })
            .collect()
    }

    /// Whether a session may be leased, carries nothing, and is kept for no caller.
    pub(crate) fn rests(&self, key: SessionKey) -> bool {
        let entry = self.entries.get(key);
        entry.load == 0 && entry.usable() && entry.reserved.is_none()
    }

    /// Whether the session holds the state of a scope that has an owner.
    pub(crate) fn is_owned(&self, key: SessionKey) -> bool {
        let entry = self.entries.get(key);
        let owned = entry.scope.is_some() && self.queue(entry.scope).is_some();
        owned && (self.holds_state)(&entry.session)
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

    /// The idle session that has been unused for longest. A pinned one is never idle: it holds the state of its scope.
    pub(crate) fn oldest_idle(&self) -> Option<(SessionKey, S)> {
        let key = self.by_load.oldest_idle().map(SessionKey)?;
        Some((key, self.entries.get(key).session.clone()))
    }

    /// The caller who has waited longest.
    pub(crate) fn first_waiter(&self) -> Option<&W> {
        let scope = self.queues.first_waiting();
        let firsts = [
            self.first_of(None),
            scope.and_then(|s| self.first_of(Some(s))),
        ];
        let first = firsts
            .into_iter()
            .flatten()
            .min_by_key(|(ticket, _)| *ticket);
        first.map(|(_, waiter)| waiter)
    }

    /// The caller who has waited longest in this queue.
    pub(crate) fn first_in_queue(&self, scope: Option<ScopeId>) -> Option<&W> {
        self.first_of(scope).map(|(_, waiter)| waiter)
    }

    fn first_of(&self, scope: Option<ScopeId>) -> Option<(Ticket, &W)> {
        let queue = self.queue(scope)?;
        let in_line = queue.line.first_waiting();
        let in_line = in_line.map(|first| (first.ticket, &first.waiter));
        let reserved = queue
            .first_reserved()
            .and_then(|(_, key)| self.entries.get(key).reserved.as_ref())
            .map(|(ticket, waiter)| (*ticket, waiter));
        let firsts = [in_line, reserved].into_iter().flatten();
        firsts.min_by_key(|(ticket, _)| *ticket)
    }

    /// Whether no session can be opened before another has ended, here or in a pool that shares the budget.
    pub(crate) fn waits_for_a_place(&self) -> bool {
        self.opening > 0 || self.places >= self.limits.max_connections
    }

    /// Whether a session of this queue has a probe to answer.
    pub(crate) fn anything_suspect(&self, scope: Option<ScopeId>) -> bool {
        match scope {
            None => self.sums.suspect > 0,
            Some(_) => self
                .queue(scope)
                .and_then(|queue| queue.session)
                .is_some_and(|key| self.entries.get(key).suspect),
        }
    }

    /// Sessions that may be given up for another pool: no scope's own, and not held by one caller alone.
    pub(crate) fn shared(&self) -> u32 {
        self.sums.usable - self.sums.whole
    }

    /// Sessions a caller can be given, now or after a probe.
    pub(crate) fn live(&self) -> u32 {
        self.sums.live
    }
}

#[cfg(test)]
mod tests;
