//! The states of a breaker.

use std::fmt;

/// The state of a breaker: three that it moves through by itself, and four that are set by hand.
///
/// A breaker leaves a state set by hand only when another is set, or by [`Breaker::reset`](crate::Breaker::reset).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum State {
    /// Calls pass and their results are judged.
    Closed,
    /// The recovery time is over: a few calls pass as probes, the others are rejected.
    HalfOpen,
    /// Calls are rejected. A breaker whose recovery time is over stays open until the next request for a permit, because
    /// only a call can show whether the other side has recovered.
    Open,
    /// Calls are rejected until the state is changed by hand.
    ForcedOpen,
    /// Calls pass and results are counted. Nothing trips the breaker.
    ForcedClosed,
    /// Calls pass and nothing is recorded: no count, no event, no state.
    Disabled,
    /// Calls pass and results are judged. What would have opened the breaker is only reported
    /// ([`BreakerEvent::WouldOpen`](crate::BreakerEvent::WouldOpen)).
    MetricsOnly,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Closed,
        Self::HalfOpen,
        Self::Open,
        Self::ForcedOpen,
        Self::ForcedClosed,
        Self::Disabled,
        Self::MetricsOnly,
    ];

    /// The name used in logs and JSON: `closed`, `half_open`, `open`, `forced_open`, `forced_closed`, `disabled`,
    /// `metrics_only`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }

    /// Whether every call passes in this state.
    pub const fn passes_all(self) -> bool {
        matches!(
            self,
            Self::Closed | Self::ForcedClosed | Self::Disabled | Self::MetricsOnly
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// State and epoch, packed into one word so that the hot path reads both with one load.
///
/// The epoch counts the transitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(crate) epoch: u64,
}

impl Snapshot {
    pub(crate) const fn pack(self) -> u64 {
        self.epoch << 3 | self.state as u64
    }

    pub(crate) const fn unpack(bits: u64) -> Self {
        Self {
            state: State::ALL[(bits & 7) as usize % State::ALL.len()],
            epoch: bits >> 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_unpacks_to_what_was_packed() {
        for state in State::ALL {
            let snapshot = Snapshot {
                state,
                epoch: 1 << 40 | 5,
            };
            assert_eq!(Snapshot::unpack(snapshot.pack()), snapshot);
        }
    }
}
