//! Events of a breaker and their observers.

use std::{fmt, time::Duration};

use crate::{Rejected, State};

/// Receives the events of a breaker. Implemented for `Fn(&BreakerEvent)`.
///
/// Observers are called outside every lock, on the thread of a caller. They may call back into the breaker, and should be
/// quick. Transitions arrive one at a time, in order, each exactly once; if two threads cause one each, one of them may
/// deliver both. Rejections are reported unordered, by the thread that was rejected, so that many of them do not queue
/// behind one thread. A panic of an observer reaches the caller whose thread it runs on.
pub trait BreakerObserver: Send + Sync {
    /// Takes an event.
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

/// An event of a breaker.
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
        reason: TransitionReason,
        /// The recovery time, if the breaker opened: jitter and growth included.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::counts::seconds"))]
        retry_after: Option<Duration>,
    },
    /// A call was rejected.
    Rejected(Rejected),
    /// A probe was out for the probe limit, and its place was taken back. This happens at the next request for a permit.
    #[non_exhaustive]
    ProbeReleased {
        /// Probes still out.
        still_out: u32,
    },
    /// In [`State::MetricsOnly`]: the breaker would have opened. The policies start again from nothing.
    #[non_exhaustive]
    WouldOpen {
        /// What would have opened it.
        reason: TransitionReason,
    },
}

/// Why the state changed.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum TransitionReason {
    /// Consecutive faults, without a success between them.
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
    /// The recovery time was over and a call requested a permit.
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
    /// Set by hand: forced, disabled, or metrics only.
    Manual,
    /// Reset by hand.
    Reset,
}

impl fmt::Display for TransitionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFaults { count } => write!(f, "{count} consecutive faults"),
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
            Self::Manual => f.write_str("set manually"),
            Self::Reset => f.write_str("reset"),
        }
    }
}
