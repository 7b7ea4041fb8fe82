//! The state of a breaker, as the outside sees it.

use std::fmt;

/// The state of a breaker: three it moves through by itself, four it is put into.
///
/// A breaker leaves a state it was put into only by another such order, or by [`Breaker::reset`](crate::Breaker::reset).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum State {
    /// Calls pass and their results are judged.
    Closed,
    /// The recovery time is over: a few calls pass as probes, the rest are refused.
    HalfOpen,
    /// Calls are refused. An open breaker whose recovery time is over is still open until somebody asks for a permit:
    /// only a call can find out whether things are better.
    Open,
    /// Calls are refused until the breaker is told otherwise.
    ForcedOpen,
    /// Calls pass, results are counted, nothing trips the breaker.
    ForcedClosed,
    /// Calls pass and leave no trace: no count, no event, no state.
    Disabled,
    /// A rehearsal: calls pass, results are judged, and what would have opened the breaker is only reported
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

/// State and epoch in one word, so that the hot path learns both with one load.
///
/// The epoch counts the transitions; a permit remembers the one it was given in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) state: State,
    pub(crate) epoch: u64,
}

impl Word {
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
    fn a_word_gives_back_what_was_packed() {
        for state in State::ALL {
            let word = Word {
                state,
                epoch: 1 << 40 | 5,
            };
            assert_eq!(Word::unpack(word.pack()), word);
        }
    }
}
