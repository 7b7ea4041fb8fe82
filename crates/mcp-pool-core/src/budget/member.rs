//! The part of a pool in a budget: who waits there, and which session it can do without.

use std::time::Duration;

use tokio::time::Instant;

use super::{Demand, Eviction};
use crate::{
    event::CloseReason,
    inner::{Inner, Promised},
    router::ScopeId,
};

/// A pool, as the others see it. Each answer costs the same for a large pool as for a small one.
pub(crate) trait Member: Send + Sync {
    /// Since when the first of these callers waits.
    fn waiting_since(&self, whose: Waiting) -> Option<Instant>;
    fn demand(&self) -> &Demand;
    fn sessions(&self) -> Sessions;
    /// How long the longest unused idle session has been unused.
    fn longest_unused(&self) -> Option<Duration>;
    /// Closes that session to make room. `false` if none is idle any more.
    fn let_go(&self, eviction: Eviction) -> bool;
    /// Promises the first session that comes to rest once those who wait now have been served. Returns the number of
    /// the promise, `None` if another one is still to be kept.
    fn owe(&self, eviction: Eviction) -> Option<u64>;
    /// Whether the promise is still to be kept.
    fn owes(&self, promise: u64) -> bool;
    /// Takes the promise back, unless it has been kept.
    fn forgive(&self, promise: u64) -> Option<Eviction>;
}

/// Whose callers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    InQueue(Option<ScopeId>),
    Anywhere,
}

/// The sessions of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sessions {
    pub(crate) live: u32,
    /// Those that may be given up: no scope's own, and not held by one caller alone.
    pub(crate) shared: u32,
    /// One is promised already.
    pub(crate) owed: bool,
}

impl Member for Inner {
    fn waiting_since(&self, whose: Waiting) -> Option<Instant> {
        let state = self.state.lock();
        let first = match whose {
            Waiting::InQueue(scope) => state.router.first_in_queue(scope),
            Waiting::Anywhere => state.router.first_waiter(),
        };
        first.map(|waiter| waiter.since)
    }

    fn demand(&self) -> &Demand {
        &self.demand
    }

    fn sessions(&self) -> Sessions {
        let state = self.state.lock();
        Sessions {
            live: state.router.live(),
            shared: state.router.shared(),
            owed: state.promised.is_some(),
        }
    }

    fn longest_unused(&self) -> Option<Duration> {
        let idle = self.state.lock().router.oldest_idle();
        idle.map(|(_, session)| session.unused_for())
    }

    fn let_go(&self, eviction: Eviction) -> bool {
        self.decide(|state| {
            let Some((key, session)) = state.router.oldest_idle() else {
                return false;
            };
            session.make_room(eviction);
            state.router.retire(key, CloseReason::Shrunk)
        })
    }

    fn owe(&self, eviction: Eviction) -> Option<u64> {
        self.decide(|state| {
            if state.promised.is_some() {
                return None;
            }
            state.promises += 1;
            let number = state.promises;
            state.promised = Some(Promised { number, eviction });
            state.router.owe();
            Some(number)
        })
    }

    fn owes(&self, promise: u64) -> bool {
        let state = self.state.lock();
        let promised = state.promised.as_ref();
        promised.is_some_and(|promised| promised.number == promise)
    }

    fn forgive(&self, promise: u64) -> Option<Eviction> {
        let mut state = self.state.lock();
        let promised = state
            .promised
            .take_if(|promised| promised.number == promise)?;
        state.router.forgive();
        Some(promised.eviction)
    }
}
