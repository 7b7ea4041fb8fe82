//! Waiter slots: where waiting callers leave their wakers and find their answers.
//!
//! A caller that must wait takes a slot under the pool's lock and leaves its waker there. The answer is stored in the slot
//! under the same lock. So a wait allocates nothing, no answer is in transit, and a caller that gives up knows whether
//! it had been given one.

use std::{sync::Arc, task::Waker};

use slab::Slab;

use crate::{error::AcquireError, router::Grant, session::Session};

/// The answer to a waiting caller.
pub(crate) type Answer = Result<Grant<Arc<Session>>, AcquireError>;

/// Names a slot until the caller leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterId(usize);

#[derive(Debug, Default)]
pub(crate) struct Waiters(Slab<WaitState>);

/// What is in a slot. Dropped outside the lock: a waker may be the last that holds a caller's task, and with it leases.
#[derive(Debug)]
pub(crate) enum WaitState {
    Waiting(Waker),
    Answered(Answer),
}

impl Waiters {
    pub(crate) fn take(&mut self, waker: Waker) -> WaiterId {
        WaiterId(self.0.insert(WaitState::Waiting(waker)))
    }

    /// Stores the answer of a waiter. The waker returned is to be used after the lock is released.
    pub(crate) fn answer(&mut self, id: WaiterId, answer: Answer) -> Option<Waker> {
        match std::mem::replace(&mut self.0[id.0], WaitState::Answered(answer)) {
            WaitState::Waiting(waker) => Some(waker),
            WaitState::Answered(_) => None,
        }
    }

    /// Takes the answer if there is one; else goes on waiting with this waker, and returns the former one.
    pub(crate) fn ask(&mut self, id: WaiterId, waker: &Waker) -> Result<Answer, Option<Waker>> {
        match &mut self.0[id.0] {
            WaitState::Waiting(known) if known.will_wake(waker) => Err(None),
            WaitState::Waiting(known) => Err(Some(std::mem::replace(known, waker.clone()))),
            WaitState::Answered(_) => match self.leave(id) {
                WaitState::Answered(answer) => Ok(answer),
                WaitState::Waiting(waker) => Err(Some(waker)),
            },
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All who wait.
    pub(crate) fn wakers(&self) -> Wakers {
        let mut wakers = Wakers::default();
        for (_, waiter) in &self.0 {
            if let WaitState::Waiting(waker) = waiter {
                wakers.add(Some(waker.clone()));
            }
        }
        wakers
    }

    /// Frees the slot, answered or not.
    pub(crate) fn leave(&mut self, id: WaiterId) -> WaitState {
        self.0.remove(id.0)
    }
}

/// Callers to be woken once the lock is released: nearly always one, for which nothing is allocated.
#[derive(Debug, Default)]
pub(crate) struct Wakers {
    before: Vec<Waker>,
    last: Option<Waker>,
}

impl Wakers {
    pub(crate) fn add(&mut self, waker: Option<Waker>) {
        if let Some(waker) = waker {
            self.before.extend(self.last.replace(waker));
        }
    }

    pub(crate) fn wake(self) {
        self.before
            .into_iter()
            .chain(self.last)
            .for_each(Waker::wake);
    }
}
