//! The right to make one call.

use std::fmt;

use tokio::time::Instant;

use crate::{Breaker, Class, state_machine::Pass};

/// The right to make one call, to be given back with its result.
///
/// A permit that is dropped, with the future that held it or by a panic, counts as ignored and gives its place back. A
/// permit knows the epoch it was given in: if the state has changed since, its result enters the totals and moves
/// nothing.
#[must_use = "a permit dropped records nothing: call success, fault or record"]
pub struct Permit {
    breaker: Breaker,
    pass: Pass,
    started: Option<Instant>,
    settled: bool,
}

impl Permit {
    #[inline]
    pub(crate) fn new(breaker: Breaker, pass: Pass, started: Option<Instant>) -> Self {
        Self {
            breaker,
            pass,
            started,
            settled: false,
        }
    }

    /// The call did its work.
    #[inline]
    pub fn success(self) {
        self.record(Class::Success);
    }

    /// The call failed, and the other side is to blame.
    #[inline]
    pub fn fault(self) {
        self.record(Class::Fault);
    }

    /// The call got no answer in time, and the other side may be to blame: so many in a row open the breaker as faults do.
    /// It is no part of the failure rate and the slow call rate: one slow operation among many says little. Half-open, it
    /// is a fault.
    pub fn timed_out(mut self) {
        self.settled = true;
        self.breaker.settle_timed_out(self.pass);
    }

    /// The call says nothing about the other side. The same as dropping the permit.
    #[inline]
    pub fn ignore(self) {
        self.record(Class::Ignored);
    }

    /// The call ended like this.
    #[inline]
    pub fn record(mut self, class: Class) {
        self.settled = true;
        self.breaker.settle(self.pass, self.started, class);
    }

    /// Whether this call is a probe: the breaker is half-open and goes by its result.
    pub fn is_probe(&self) -> bool {
        self.pass.probe.is_some()
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.settled {
            self.breaker.settle(self.pass, self.started, Class::Ignored);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("epoch", &self.pass.epoch)
            .field("is_probe", &self.is_probe())
            .finish()
    }
}
