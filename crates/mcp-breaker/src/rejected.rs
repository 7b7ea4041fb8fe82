//! Rejections.

use std::{fmt, time::Duration};

use crate::State;

/// The breaker rejected a call. The other side was not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Rejected {
    /// When to try again: the rest of the recovery time, never zero. `None` where no time is known: forced open, and
    /// half-open with every probe out.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::counts::seconds"))]
    pub retry_after: Option<Duration>,
    /// The state that rejected: open, half-open or forced open.
    pub state: State,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, self.retry_after) {
            (State::HalfOpen, _) => f.write_str("circuit breaker half-open: all probes are out"),
            (State::ForcedOpen, _) => f.write_str("circuit breaker forced open"),
            (_, Some(after)) => write!(
                f,
                "circuit breaker open, retry in {:.1} s",
                after.as_secs_f64()
            ),
            (_, None) => f.write_str("circuit breaker open"),
        }
    }
}

impl std::error::Error for Rejected {}
