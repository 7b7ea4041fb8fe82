//! The runtime that a pool's tasks run on.
//!
//! A pool can be told things by a thread that knows no runtime: a lease is dropped there, a session evicted. What
//! that sets off runs where the pool was last waited for. A runtime may also end before the pool does; then its tasks
//! are dropped, each says so ([`Inner::abandoned`]), and nothing is opened until a caller waits on another.

use std::{
    future::Future,
    sync::{Arc, Weak},
};

use tokio::runtime::Handle;

use crate::{
    inner::{Inner, State},
    maintenance,
    router::{ScopeId, SessionKey},
};

/// A runtime, and how many there were before it as far as the pool knows.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) handle: Handle,
    pub(crate) generation: u64,
}

impl State {
    /// The pool's tasks run here from now on, if here is a runtime. Whether they ran elsewhere before:
    /// [`Inner::resume_tasks`] is called then, after the lock is released.
    pub(crate) fn enter_runtime(&mut self) -> bool {
        let Ok(handle) = Handle::try_current() else {
            return false;
        };
        if let Some(runtime) = &self.runtime
            && runtime.handle.id() == handle.id()
        {
            return false;
        }
        self.generation += 1;
        let generation = self.generation;
        self.runtime = Some(Runtime { handle, generation });
        self.router.set_has_runtime(true);
        true
    }

    /// The same, if the pool has no runtime yet.
    pub(crate) fn enter_runtime_if_none(&mut self) -> bool {
        self.runtime.is_none() && self.enter_runtime()
    }

    /// A task was dropped by its runtime, which is not to be asked again. A task of an earlier runtime says nothing about
    /// the present one.
    fn runtime_ended(&mut self, generation: u64) {
        if self
            .runtime
            .as_ref()
            .is_none_or(|runtime| runtime.generation == generation)
        {
            self.runtime = None;
            self.router.set_has_runtime(false);
        }
    }
}

impl Inner {
    /// Runs a task where the pool is at home; drops it where there is no runtime.
    pub(crate) fn spawn(
        &self,
        runtime: Option<&Runtime>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        if let Some(Runtime { handle, .. }) = runtime {
            self.tasks.spawn_on(task, handle);
        }
    }

    /// An opening was dropped by its runtime, or found none.
    pub(crate) fn opening_dropped(&self, scope: Option<ScopeId>, generation: u64) {
        self.decide(|state| {
            state.runtime_ended(generation);
            state.router.open_abandoned(scope);
        });
        self.wake_waiters_without_runtime();
    }

    /// A probe was dropped by its runtime, or found none. The session is suspect until another one is answered.
    pub(crate) fn probe_dropped(&self, key: SessionKey, generation: u64) {
        let mut state = self.state.lock();
        state.runtime_ended(generation);
        let elsewhere = state.runtime.is_some();
        if !elsewhere {
            state.lost_probes.push(key);
        }
        drop(state);
        if elsewhere {
            self.spawn_probe(key);
        } else {
            self.wake_waiters_without_runtime();
        }
    }

    /// Wakes the callers in line where the pool has no runtime: one of them waits on another, and the pool moves there.
    fn wake_waiters_without_runtime(&self) {
        let state = self.state.lock();
        if state.runtime.is_some() || state.closed {
            return;
        }
        let wakers = state.waiters.wakers();
        drop(state);
        wakers.wake();
    }

    /// The pool has moved to another runtime: what was lost with the last one is done again.
    pub(crate) fn resume_tasks(&self) {
        let lost = std::mem::take(&mut self.state.lock().lost_probes);
        for key in lost {
            self.spawn_probe(key);
        }
        if self.state.lock().router.live() > 0 {
            self.ensure_maintenance();
        }
    }

    /// Sees to it that there is a housekeeper.
    pub(crate) fn ensure_maintenance(&self) {
        let mut state = self.state.lock();
        let Some(runtime) = state.runtime.clone() else {
            return;
        };
        if std::mem::replace(&mut state.maintaining, true) {
            return;
        }
        drop(state);
        let guard = MaintenanceGuard {
            inner: Weak::clone(&self.this),
            generation: runtime.generation,
        };
        self.spawn(
            Some(&runtime),
            maintenance::run(Weak::clone(&self.this), guard),
        );
    }
}

/// The post of housekeeper: vacant again when the task goes, and filled anew if the pool lives elsewhere by then.
#[derive(Debug)]
pub(crate) struct MaintenanceGuard {
    inner: Weak<Inner>,
    generation: u64,
}

impl Drop for MaintenanceGuard {
    fn drop(&mut self) {
        let Some(inner): Option<Arc<Inner>> = self.inner.upgrade() else {
            return;
        };
        let mut state = inner.state.lock();
        state.maintaining = false;
        let moved = state
            .runtime
            .as_ref()
            .is_some_and(|runtime| runtime.generation != self.generation);
        let closed = state.closed;
        drop(state);
        if moved && !closed {
            inner.ensure_maintenance();
        }
    }
}
