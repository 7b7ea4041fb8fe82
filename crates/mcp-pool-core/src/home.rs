//! The runtime that a pool's tasks run on.
//!
//! A pool can be told things by a thread that knows no runtime: a lease is dropped there, a session evicted. What
//! that sets off runs where the pool was last waited for. A runtime may also end before the pool does; then its tasks
//! are dropped, each says so ([`Shared::abandoned`]), and nothing is opened until a caller waits on another.

use std::{
    future::Future,
    sync::{Arc, Weak},
};

use tokio::runtime::Handle;

use crate::{
    housekeeper,
    router::{ScopeId, SessionKey},
    shared::{Shared, State},
};

/// A runtime, and how many there were before it as far as the pool knows.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) handle: Handle,
    pub(crate) generation: u64,
}

impl State {
    /// The pool's tasks run here from now on, if here is a runtime. Whether they ran elsewhere before:
    /// [`Shared::moved_in`] is called then, after the lock is released.
    pub(crate) fn settle(&mut self) -> bool {
        let Ok(handle) = Handle::try_current() else {
            return false;
        };
        if let Some(home) = &self.home
            && home.handle.id() == handle.id()
        {
            return false;
        }
        self.generation += 1;
        let generation = self.generation;
        self.home = Some(Home { handle, generation });
        self.router.set_housed(true);
        true
    }

    /// The same, if the pool has no runtime yet.
    pub(crate) fn settle_if_homeless(&mut self) -> bool {
        self.home.is_none() && self.settle()
    }

    /// A task was dropped by its runtime, which is not to be asked again. A task of an earlier runtime says nothing about
    /// the present one.
    fn leave(&mut self, generation: u64) {
        if self
            .home
            .as_ref()
            .is_none_or(|home| home.generation == generation)
        {
            self.home = None;
            self.router.set_housed(false);
        }
    }
}

impl Shared {
    /// Runs a task where the pool is at home; drops it where there is no runtime.
    pub(crate) fn spawn(
        &self,
        home: Option<&Home>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        if let Some(Home { handle, .. }) = home {
            self.tasks.spawn_on(task, handle);
        }
    }

    /// An opening was dropped by its runtime, or found none.
    pub(crate) fn abandoned(&self, scope: Option<ScopeId>, generation: u64) {
        // What bb8 was doing there it takes to be going on for ever.
        self.slots.renew();
        self.decide(|state| {
            state.leave(generation);
            state.router.open_abandoned(scope);
        });
        self.look_for_a_home();
    }

    /// A probe was dropped by its runtime, or found none. The session is suspect until another one is answered.
    pub(crate) fn probe_abandoned(&self, key: SessionKey, generation: u64) {
        let mut state = self.state.lock();
        state.leave(generation);
        let elsewhere = state.home.is_some();
        if !elsewhere {
            state.lost_probes.push(key);
        }
        drop(state);
        if elsewhere {
            self.spawn_probe(key);
        } else {
            self.look_for_a_home();
        }
    }

    /// Wakes the callers in line where the pool has no runtime: one of them waits on another, and the pool moves there.
    fn look_for_a_home(&self) {
        let state = self.state.lock();
        if state.home.is_some() || state.closed {
            return;
        }
        let wakers = state.seats.wakers();
        drop(state);
        wakers.wake();
    }

    /// The pool has moved to another runtime: what was lost with the last one is done again.
    pub(crate) fn moved_in(&self) {
        let lost = std::mem::take(&mut self.state.lock().lost_probes);
        for key in lost {
            self.spawn_probe(key);
        }
        if self.state.lock().router.live() > 0 {
            self.keep_house();
        }
    }

    /// Sees to it that there is a housekeeper.
    pub(crate) fn keep_house(&self) {
        let mut state = self.state.lock();
        let Some(home) = state.home.clone() else {
            return;
        };
        if std::mem::replace(&mut state.housekeeping, true) {
            return;
        }
        drop(state);
        let post = Post {
            shared: Weak::clone(&self.this),
            generation: home.generation,
        };
        self.spawn(Some(&home), housekeeper::run(Weak::clone(&self.this), post));
    }
}

/// The post of housekeeper: vacant again when the task goes, and filled anew if the pool lives elsewhere by then.
#[derive(Debug)]
pub(crate) struct Post {
    shared: Weak<Shared>,
    generation: u64,
}

impl Drop for Post {
    fn drop(&mut self) {
        let Some(shared): Option<Arc<Shared>> = self.shared.upgrade() else {
            return;
        };
        let mut state = shared.state.lock();
        state.housekeeping = false;
        let moved = state
            .home
            .as_ref()
            .is_some_and(|home| home.generation != self.generation);
        let closed = state.closed;
        drop(state);
        if moved && !closed {
            shared.keep_house();
        }
    }
}
