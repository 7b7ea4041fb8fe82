//! A pool as a member of its budget.

use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, Promised};
use crate::{
    budget::{Demand, Eviction, Member, Sessions, Waiting},
    lifecycle::CloseReason,
};

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
