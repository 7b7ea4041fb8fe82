//! The answer of a breaker that lets nobody through.

use std::{fmt, time::Duration};

use crate::State;

/// A call was refused: the other side was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Rejected {
    /// When it makes sense to ask again: what is left of the recovery time, never zero. `None` where no time can be
    /// named: forced open, until the order is lifted; half-open with every probe out, until one of them ends.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::counts::seconds"))]
    pub retry_after: Option<Duration>,
    /// The state that refused: open, half-open or forced open.
    pub state: State,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, self.retry_after) {
            (State::HalfOpen, _) => {
                f.write_str("circuit breaker is half-open and all its probes are out")
            }
            (State::ForcedOpen, _) => f.write_str("circuit breaker is forced open"),
            (_, Some(after)) => write!(
                f,
                "circuit breaker is open, retry in {:.1} s",
                after.as_secs_f64()
            ),
            (_, None) => f.write_str("circuit breaker is open"),
        }
    }
}

impl std::error::Error for Rejected {}
