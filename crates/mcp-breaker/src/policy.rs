//! When to trip.
//!
//! The policies are failsafe's `FailurePolicy`s. That trait passes neither time nor detail, and lets a policy trip on a
//! failure only. So a [`Note`] is left with the policy before each call of the machine; and a success that was slow is
//! brought to the machine as a failure, with a note that says it was none.
//!
//! The delay a policy answers with is always zero: *whether* to open is its business, *for how long* is the
//! [`Recovery`](crate::recovery::Recovery)'s, on a clock that tests can turn.

mod combined;
mod consecutive;
mod window;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use combined::Combined;
pub(crate) use consecutive::Consecutive;
pub(crate) use window::{Window, WindowLimits};

/// What failsafe's trait does not pass on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) at: Instant,
    pub(crate) fault: bool,
    pub(crate) slow: bool,
    /// Whether the call is part of the rates.
    pub(crate) in_rates: bool,
}

/// "Trip", to failsafe.
pub(crate) const TRIP: Option<Duration> = Some(Duration::ZERO);
