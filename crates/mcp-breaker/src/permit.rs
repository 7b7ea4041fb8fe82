//! Permits: the right to make one call.

use std::fmt;

use tokio::time::Instant;

use crate::{Breaker, Class, state_machine::Admission};

/// The right to make one call. Its result is recorded by [`success`](Self::success), [`fault`](Self::fault) and their like.
///
/// A permit that is dropped, with the future that held it or by a panic, counts as ignored and gives its place back. A
/// permit knows the epoch in which it was granted: if the state has changed since, its result counts in the totals only.
#[must_use = "a dropped permit records nothing: call success, fault or record"]
pub struct Permit {
    breaker: Breaker,
    admission: Admission,
    started: Option<Instant>,
    recorded: bool,
}

impl Permit {
    #[inline]
    pub(crate) fn new(breaker: Breaker, admission: Admission, started: Option<Instant>) -> Self {
        Self {
            breaker,
            admission,
            started,
            recorded: false,
        }
    }

    /// The call succeeded.
    #[inline]
    pub fn success(self) {
        self.record(Class::Success);
    }

    /// The call failed by a fault of the other side.
    #[inline]
    pub fn fault(self) {
        self.record(Class::Fault);
    }

    /// The call got no answer in time. It is a consecutive fault, and a fault while half-open. It is no part of the failure
    /// rate and the slow call rate: one slow operation among many says little about the other side.
    pub fn timed_out(mut self) {
        self.recorded = true;
        self.breaker.record_timeout(self.admission);
    }

    /// The call says nothing about the other side. The same as dropping the permit.
    #[inline]
    pub fn ignore(self) {
        self.record(Class::Ignored);
    }

    /// Records the result by its class.
    #[inline]
    pub fn record(mut self, class: Class) {
        self.recorded = true;
        self.breaker.record(self.admission, self.started, class);
    }

    /// Whether this call is a probe, by whose result a half-open breaker closes or reopens.
    pub fn is_probe(&self) -> bool {
        self.admission.probe.is_some()
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if !self.recorded {
            self.breaker
                .record(self.admission, self.started, Class::Ignored);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("epoch", &self.admission.epoch)
            .field("is_probe", &self.is_probe())
            .finish()
    }
}
