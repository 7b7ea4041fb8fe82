//! The runtime that a pool's tasks run on.
//!
//! A pool can be changed by a thread without a runtime: a lease is dropped there, a session evicted. What that sets off
//! runs on the runtime where a caller last waited. A runtime may also end before the pool does: then its tasks are
//! dropped, each reports it, and nothing is opened until a caller waits on another.

use tokio::runtime::Handle;

/// A runtime, and how many the pool has used before it.
#[derive(Clone, Debug)]
pub(crate) struct Runtime {
    pub(crate) handle: Handle,
    pub(crate) generation: u64,
}

/// The runtime that a pool uses at present, if it uses one.
#[derive(Debug, Default)]
pub(crate) struct CurrentRuntime {
    current: Option<Runtime>,
    generations: u64,
}

impl CurrentRuntime {
    pub(crate) fn get(&self) -> Option<&Runtime> {
        self.current.as_ref()
    }

    /// Uses the runtime of the caller, if it is on one. Returns whether that is another than before.
    pub(crate) fn enter(&mut self) -> bool {
        let Ok(handle) = Handle::try_current() else {
            return false;
        };
        if (self.current.as_ref()).is_some_and(|runtime| runtime.handle.id() == handle.id()) {
            return false;
        }
        self.generations += 1;
        let generation = self.generations;
        self.current = Some(Runtime { handle, generation });
        true
    }

    /// A task was dropped by the runtime of this generation, which is not used again. An earlier runtime says nothing
    /// about the present one.
    pub(crate) fn ended(&mut self, generation: u64) {
        self.current
            .take_if(|runtime| runtime.generation == generation);
    }
}
