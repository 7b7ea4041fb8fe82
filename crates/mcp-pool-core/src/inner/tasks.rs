//! The tasks of a pool: where they run, and what happens when their runtime ends.

use std::{
    future::Future,
    sync::{Arc, Weak},
};

use tracing::Span;

use super::{Inner, State};
use crate::{
    future::BoxFuture,
    router::{ScopeId, SessionKey},
    runtime::Runtime,
};

/// The long tasks of a pool. They use its state, and its state starts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskFns {
    /// Opens a session for a scope and stays with it to its end. The number is that of the runtime it runs on; the span is
    /// that of the caller who waits for it.
    pub(crate) open: fn(Arc<Inner>, Option<ScopeId>, u64, Span) -> BoxFuture<'static, ()>,
    /// Does what is due by the clock.
    pub(crate) maintain: fn(Weak<Inner>, MaintenanceGuard) -> BoxFuture<'static, ()>,
}

impl State {
    /// Has the pool's tasks run on the caller's runtime from now on, if it is on one. Returns whether they ran elsewhere
    /// before: [`Inner::resume_tasks`] is to be called then, after the lock is released.
    pub(crate) fn enter_runtime(&mut self) -> bool {
        let moved = self.runtime.enter();
        if moved {
            self.router.set_has_runtime(true);
        }
        moved
    }

    /// The same, if the pool has no runtime.
    pub(crate) fn enter_runtime_if_none(&mut self) -> bool {
        self.runtime.get().is_none() && self.enter_runtime()
    }

    fn runtime_ended(&mut self, generation: u64) {
        self.runtime.ended(generation);
        if self.runtime.get().is_none() {
            self.router.set_has_runtime(false);
        }
    }
}

impl Inner {
    /// Runs a task on the pool's runtime; drops it where there is none.
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
        let elsewhere = state.runtime.get().is_some();
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
        if state.runtime.get().is_some() || state.router.is_closed() {
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

    /// Starts the maintenance task, if it does not run.
    pub(crate) fn ensure_maintenance(&self) {
        let mut state = self.state.lock();
        let Some(runtime) = state.runtime.get().cloned() else {
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
            (self.task_fns.maintain)(Weak::clone(&self.this), guard),
        );
    }
}

/// Held by the maintenance task. When it is dropped, the task is started again if the pool uses another runtime by then.
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
            .get()
            .is_some_and(|runtime| runtime.generation != self.generation);
        let closed = state.router.is_closed();
        drop(state);
        if moved && !closed {
            inner.ensure_maintenance();
        }
    }
}
