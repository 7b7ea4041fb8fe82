//! When to trip: consecutive faults, and rates in a sliding window.

mod combined;
mod consecutive;
mod window;

use tokio::time::Instant;

pub(crate) use combined::Combined;
pub(crate) use consecutive::Consecutive;
pub(crate) use window::{Window, WindowLimits};

/// The result of a call as the policies see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) at: Instant,
    pub(crate) fault: bool,
    pub(crate) slow: bool,
    /// Whether the call is part of the rates.
    pub(crate) in_rates: bool,
}
