//! Memory of the handshake that a server accepted.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use crate::lifecycle::Era;

/// Which handshake a server is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LifecycleMode {
    /// `server/discover`, and `initialize` if the server does not know that. What it knew is remembered.
    #[default]
    Auto,
    /// `initialize` only.
    Initialize,
    /// `server/discover` only.
    Discover,
}

/// The era in which a server was last met, so that only the first opening has to find out.
#[derive(Clone, Debug, Default)]
pub struct EraMemory(Arc<AtomicU8>);

impl EraMemory {
    const UNKNOWN: u8 = 0;
    const LEGACY: u8 = 1;
    const MODERN: u8 = 2;

    /// The era, if it is known.
    #[must_use]
    pub fn get(&self) -> Option<Era> {
        match self.0.load(Ordering::Relaxed) {
            Self::LEGACY => Some(Era::Legacy),
            Self::MODERN => Some(Era::Modern),
            _ => None,
        }
    }

    fn set(&self, era: Option<Era>) {
        let value = match era {
            None => Self::UNKNOWN,
            Some(Era::Legacy) => Self::LEGACY,
            Some(Era::Modern) => Self::MODERN,
        };
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Clears the remembered era when it is dropped: a server may have been exchanged for one of the other era.
pub(super) struct Forgetting<'a>(Option<&'a EraMemory>);

impl<'a> Forgetting<'a> {
    pub(super) fn unless_kept(memory: &'a EraMemory) -> Self {
        Self(Some(memory))
    }

    pub(super) fn keep(mut self, era: Era) {
        if let Some(memory) = self.0.take() {
            memory.set(Some(era));
        }
    }
}

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        if let Some(memory) = self.0 {
            memory.set(None);
        }
    }
}
