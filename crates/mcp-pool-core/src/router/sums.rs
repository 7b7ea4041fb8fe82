//! What the sessions of a router add up to.
//!
//! Kept on every change of a session, so that no decision looks at all of them.

use super::{Stage, entry::Entry};

/// Of the shared queue, save where it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Live sessions, over all queues.
    pub(super) live: u32,
    /// Live sessions.
    pub(super) shared: u32,
    /// Live sessions that have a probe to answer.
    pub(super) suspect: u32,
    /// Live sessions that have none.
    pub(super) usable: u32,
    /// What the usable ones carry.
    pub(super) load: u32,
    /// Usable sessions that one caller has to itself.
    pub(super) whole: u32,
    /// Usable sessions that are reserved.
    pub(super) reserved: u32,
}

impl Sums {
    pub(super) fn add<S, W>(&mut self, entry: &Entry<S, W>) {
        self.change(entry, |sum, part| *sum += part);
    }

    pub(super) fn subtract<S, W>(&mut self, entry: &Entry<S, W>) {
        self.change(entry, |sum, part| *sum -= part);
    }

    fn change<S, W>(&mut self, entry: &Entry<S, W>, apply: impl Fn(&mut u32, u32)) {
        if entry.stage != Stage::Live {
            return;
        }
        apply(&mut self.live, 1);
        if entry.scope.is_some() {
            return;
        }
        apply(&mut self.shared, 1);
        if entry.suspect {
            apply(&mut self.suspect, 1);
            return;
        }
        apply(&mut self.usable, 1);
        apply(&mut self.load, entry.load);
        apply(&mut self.whole, u32::from(entry.whole));
        apply(&mut self.reserved, u32::from(entry.reserved.is_some()));
    }
}
