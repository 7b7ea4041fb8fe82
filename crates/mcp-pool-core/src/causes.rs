//! What waits for an opening, so that the opening is traced under it.
//!
//! bb8 opens in tasks of its own and does not tell them for whom. But it begins one opening for each that is asked for, so
//! the causes stand in line, and whoever begins takes the first.

use std::{collections::VecDeque, fmt, sync::Arc};

use parking_lot::Mutex;
use tracing::Span;

#[derive(Clone, Default)]
pub(crate) struct Causes(Arc<Mutex<Line>>);

#[derive(Default)]
struct Line {
    waiting: VecDeque<(u64, Span)>,
    joined: u64,
}

/// A place in line, given up when the opening is no longer asked for.
pub(crate) struct InLine<'a> {
    causes: &'a Causes,
    number: u64,
}

impl Causes {
    /// An opening is asked for.
    pub(crate) fn join(&self, cause: Span) -> InLine<'_> {
        let mut line = self.0.lock();
        line.joined += 1;
        let number = line.joined;
        line.waiting.push_back((number, cause));
        InLine {
            causes: self,
            number,
        }
    }

    /// An opening begins.
    pub(crate) fn next(&self) -> Span {
        let first = self.0.lock().waiting.pop_front();
        first.map_or_else(Span::none, |(_, cause)| cause)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let mut line = self.causes.0.lock();
        let at = line
            .waiting
            .binary_search_by_key(&self.number, |(number, _)| *number);
        let left = at.ok().and_then(|at| line.waiting.remove(at));
        // Closing a span calls into whoever listens.
        drop(line);
        drop(left);
    }
}

impl fmt::Debug for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Causes")
            .field("waiting", &self.0.lock().waiting.len())
            .finish()
    }
}
