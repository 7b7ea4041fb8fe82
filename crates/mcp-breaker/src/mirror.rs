//! Where failsafe's machine stands.
//!
//! The machine keeps its state to itself; its `Instrument` is the one place it speaks of it. It speaks while holding
//! its lock at times (in `reset`), so a mirror only stores: nothing is called from here, and observers hear of a
//! transition from the outbox, when every lock has been let go.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use failsafe::Instrument;

use crate::State;

/// The state the machine last reported. Written and read under the gate's lock only, hence the relaxed order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirror(Arc<AtomicU8>);

impl Mirror {
    pub(crate) fn state(&self) -> State {
        match self.0.load(Ordering::Relaxed) {
            CLOSED => State::Closed,
            HALF_OPEN => State::HalfOpen,
            _ => State::Open,
        }
    }
}

impl Instrument for Mirror {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.0.store(OPEN, Ordering::Relaxed);
    }

    fn on_half_open(&self) {
        self.0.store(HALF_OPEN, Ordering::Relaxed);
    }

    fn on_closed(&self) {
        self.0.store(CLOSED, Ordering::Relaxed);
    }
}

const CLOSED: u8 = 0;
const HALF_OPEN: u8 = 1;
const OPEN: u8 = 2;
