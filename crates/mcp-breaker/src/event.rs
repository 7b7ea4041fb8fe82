//! What a breaker tells those who watch it.

use std::{fmt, time::Duration};

use crate::{Rejected, State};

/// Watches a breaker. Closures `Fn(&BreakerEvent)` do.
///
/// Observers are called outside every lock, on the thread of some caller: they may call back into the breaker, and
/// should be quick. Transitions arrive one at a time, in the order they happened, each exactly once; if two threads
/// cause one each, one of them may deliver both. Refusals are told by the thread that was refused, unordered: a storm of
/// them must not queue up behind one thread. An observer that panics takes the call down that told it.
pub trait BreakerObserver: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &BreakerEvent);
}

impl<F> BreakerObserver for F
where
    F: Fn(&BreakerEvent) + Send + Sync,
{
    fn on_event(&self, event: &BreakerEvent) {
        self(event);
    }
}

/// Something that happened to a breaker.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "event", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum BreakerEvent {
    /// The state changed.
    #[non_exhaustive]
    Transition {
        /// The state left.
        from: State,
        /// The state entered.
        to: State,
        /// Why.
        reason: Reason,
        /// The recovery time, if the breaker opened: jitter and growth included.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::counts::seconds"))]
        retry_after: Option<Duration>,
    },
    /// A call was refused.
    Rejected(Rejected),
    /// A probe had been out for the probe limit; its place was taken back. This is noticed when the next caller asks.
    #[non_exhaustive]
    ProbeReleased {
        /// Probes still out.
        still_out: u32,
    },
    /// In [`State::MetricsOnly`]: here the breaker would have opened. Judging starts afresh after it.
    #[non_exhaustive]
    WouldOpen {
        /// What would have opened it.
        reason: Reason,
    },
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// So many faults, with no success between them.
    ConsecutiveFaults {
        /// Their number.
        count: u32,
    },
    /// Too many faults among the calls of the window.
    FaultRate {
        /// Faults over calls, from 0 to 1.
        rate: f64,
        /// Calls in the window.
        calls: u64,
    },
    /// Too many slow calls among those of the window.
    SlowRate {
        /// Slow calls over calls, from 0 to 1.
        rate: f64,
        /// Calls in the window.
        calls: u64,
    },
    /// The recovery time was over and somebody asked.
    RecoveryOver,
    /// A probe failed.
    ProbeFault,
    /// A probe succeeded, but too slowly.
    ProbeSlow,
    /// Enough probes succeeded.
    ProbesSucceeded {
        /// Their number.
        count: u32,
    },
    /// Told so: forced, disabled, or set to metrics only.
    Ordered,
    /// Told to start afresh.
    Reset,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFaults { count } => write!(f, "{count} faults in a row"),
            Self::FaultRate { rate, calls } => {
                write!(f, "{:.0} % of {calls} calls failed", rate * 100.0)
            }
            Self::SlowRate { rate, calls } => {
                write!(f, "{:.0} % of {calls} calls were slow", rate * 100.0)
            }
            Self::RecoveryOver => f.write_str("the recovery time is over"),
            Self::ProbeFault => f.write_str("a probe failed"),
            Self::ProbeSlow => f.write_str("a probe was slow"),
            Self::ProbesSucceeded { count } => write!(f, "{count} probes succeeded"),
            Self::Ordered => f.write_str("ordered"),
            Self::Reset => f.write_str("reset"),
        }
    }
}
