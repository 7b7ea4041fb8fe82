//! How a session leaves: no more leases, then the end, then its place is free.

use super::{Action, Router, SessionKey, Stage};
use crate::event::CloseReason;

impl<S: Clone, W> Router<S, W> {
    /// A session takes no more leases and closes when the last one is back. `false` if that was decided before.
    pub(crate) fn retire(&mut self, key: SessionKey, reason: CloseReason) -> bool {
        if self.entries.get(key).stage != Stage::Live {
            return false;
        }
        self.withdraw(key);
        self.update(key, |entry| entry.stage = Stage::Retiring(reason));
        if self.entries.get(key).load == 0 {
            self.begin_close(key, reason);
        }
        self.after_withdrawal(key);
        true
    }

    /// What is above the maximum goes as soon as it is idle, what carries least first. Openings under way are not
    /// counted, they may fail: each is looked at when it has succeeded.
    pub(super) fn shrink(&mut self) {
        let surplus = self.live().saturating_sub(self.limits.max_connections) as usize;
        for (key, _) in self.sessions_by_load().into_iter().take(surplus) {
            self.retire(key, CloseReason::Shrunk);
        }
    }

    /// Whether a session that has just become usable is one too many, and not the only one to serve callers.
    pub(super) fn is_surplus(&self, key: SessionKey) -> bool {
        self.entries.get(key).scope.is_none()
            && self.places > self.limits.max_connections
            && self.sums.usable > 1
    }

    /// A session is dead, or must be ended under its leases. `false` if its end was known.
    pub(crate) fn broke(&mut self, key: SessionKey, reason: CloseReason) -> bool {
        match self.entries.get(key).stage {
            Stage::Live => {
                self.withdraw(key);
                self.begin_close(key, reason);
                self.after_withdrawal(key);
                true
            }
            Stage::Retiring(_) => {
                self.begin_close(key, reason);
                true
            }
            Stage::Closing | Stage::Ended => false,
        }
    }

    /// A session has ended, down to its process: its place is free.
    pub(crate) fn closed(&mut self, key: SessionKey) {
        debug_assert_eq!(
            self.entries.get(key).stage,
            Stage::Closing,
            "only a closing session can have ended"
        );
        self.update(key, |entry| entry.stage = Stage::Ended);
        self.places -= 1;
        if self.entries.get(key).load == 0 {
            self.forget(key);
        }
        self.plan();
    }

    /// Takes a session out of the running: off the shelves, its reservation back in line.
    pub(super) fn withdraw(&mut self, key: SessionKey) {
        self.shelves.remove(&mut self.entries, key.0);
        self.unreserve(key);
    }

    pub(super) fn after_withdrawal(&mut self, key: SessionKey) {
        let entry = self.entries.get(key);
        let (scope, gone) = (entry.scope, entry.stage != Stage::Live);
        if gone && scope.is_some() {
            let detach = |session: &mut Option<SessionKey>| session.take_if(|own| *own == key);
            self.lanes.update(scope, |lane| detach(&mut lane.session));
        }
        self.dispatch(scope);
        self.plan();
    }

    pub(super) fn begin_close(&mut self, key: SessionKey, reason: CloseReason) {
        let session = self.update(key, |entry| {
            entry.stage = Stage::Closing;
            entry.session.clone()
        });
        self.actions.push(Action::Close { session, reason });
    }

    pub(super) fn forget(&mut self, key: SessionKey) {
        self.entries.0.remove(key.0 as usize);
    }
}
