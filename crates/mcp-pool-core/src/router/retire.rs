//! Retirement of a session: it takes no more leases, closes when they are back, and frees its place when it is dead.

use super::{Action, Mode, Refusal, Router, ScopeId, SessionKey, Stage};
use crate::lifecycle::CloseReason;

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
        self.lose_state(key, reason);
        self.after_withdrawal(key);
        true
    }

    /// What is above the maximum goes as soon as it is idle, what carries least first. Openings under way are not
    /// counted, they may fail: each is looked at when it has succeeded.
    pub(super) fn shrink(&mut self) {
        let surplus = self.live().saturating_sub(self.limits.max_connections) as usize;
        let mut shared = self.sessions_by_load();
        // The state of a scope is not closed by policy.
        shared.retain(|(key, _)| self.entries.get(*key).scope.is_none());
        for (key, _) in shared.into_iter().take(surplus) {
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
                self.lose_state(key, reason);
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

    /// Takes a session out of use: out of the index, its reservation back in line.
    pub(super) fn withdraw(&mut self, key: SessionKey) {
        self.by_load.remove(&mut self.entries, key.0);
        self.unreserve(key);
    }

    /// A scope's session takes no more leases. The next caller that wants its state gets an error.
    fn lose_state(&mut self, key: SessionKey, reason: CloseReason) {
        let entry = self.entries.get(key);
        let Some(scope) = entry.scope else { return };
        let (held, running) = (
            (self.holds_state)(&entry.session),
            self.mode != Mode::Closed,
        );
        let refused = self.queues.update(Some(scope), |queue| {
            if queue.session.take_if(|own| *own == key).is_none() || !held {
                return None;
            }
            let first = queue.line.first().filter(|_| running);
            let waiting = first.and_then(|first| queue.line.leave(first));
            if waiting.is_none() {
                queue.lost = Some(reason);
            }
            waiting
        });
        if let Some(waiting) = refused.flatten() {
            self.refuse(waiting, Refusal::StateLost(reason));
        }
    }

    /// Why the scope has lost its state, if its next caller does not know yet. `take` means that this caller knows now.
    pub(crate) fn lost_state(&mut self, scope: Option<ScopeId>, take: bool) -> Option<CloseReason> {
        let scope = Some(scope?);
        let lost = self.queues.get(scope)?.lost;
        if lost.is_some() && take {
            self.queues.update(scope, |queue| queue.lost = None);
        }
        lost.filter(|_| self.mode != Mode::Closed)
    }

    pub(super) fn after_withdrawal(&mut self, key: SessionKey) {
        let scope = self.entries.get(key).scope;
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
