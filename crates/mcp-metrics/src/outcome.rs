//! Outcomes of calls, and what they say about the server.
//!
//! [`CallOutcome::judgement`] is the one table. Error rates, health, alerts and the facade's circuit breaker read it, so that
//! what opens a breaker also makes a server critical.

use std::fmt;

use serde::Serialize;

/// The outcome of a call, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallOutcome {
    /// A result.
    Ok,
    /// A result that says that the tool failed.
    ToolError,
    /// A JSON-RPC error of the server.
    Protocol,
    /// There was no connection, or it broke before the request was sent.
    Connection,
    /// The queue of waiting callers was full.
    Exhausted,
    /// A timeout passed.
    Timeout,
    /// A session did not answer a probe.
    HealthCheck,
    /// The request was sent and not answered.
    OutcomeUnknown,
    /// The server wanted other credentials.
    Authentication,
    /// The circuit breaker refused the call.
    CircuitOpen,
    /// The arguments or the result do not match the schema.
    Validation,
    /// The caller cancelled the call.
    Cancelled,
    /// The configuration cannot be used.
    Config,
    /// The program is shutting down.
    ShuttingDown,
    /// The session that held the state of the caller's scope was gone.
    StateLost,
}

/// What an outcome says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Judgement {
    /// It answered.
    Answered,
    /// It should have answered and did not.
    Fault,
    /// The circuit breaker refused the call: nothing new.
    Refused,
    /// Nothing.
    Nothing,
}

impl CallOutcome {
    /// All outcomes, in the order in which they are declared.
    pub const ALL: [Self; 15] = [
        Self::Ok,
        Self::ToolError,
        Self::Protocol,
        Self::Connection,
        Self::Exhausted,
        Self::Timeout,
        Self::HealthCheck,
        Self::OutcomeUnknown,
        Self::Authentication,
        Self::CircuitOpen,
        Self::Validation,
        Self::Cancelled,
        Self::Config,
        Self::ShuttingDown,
        Self::StateLost,
    ];

    /// The value of the label `outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Protocol => "protocol",
            Self::Connection => "connection",
            Self::Exhausted => "exhausted",
            Self::Timeout => "timeout",
            Self::HealthCheck => "health_check",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Authentication => "authentication",
            Self::CircuitOpen => "circuit_open",
            Self::Validation => "validation",
            Self::Cancelled => "cancelled",
            Self::Config => "config",
            Self::ShuttingDown => "shutting_down",
            Self::StateLost => "state_lost",
        }
    }

    /// Whether the call failed without an answer and through no fault of its caller. Not all of these are faults of the
    /// server: see [`CallOutcome::judgement`].
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Exhausted
                | Self::Timeout
                | Self::HealthCheck
                | Self::OutcomeUnknown
                | Self::Authentication
                | Self::CircuitOpen
                | Self::StateLost
        )
    }

    /// What the outcome usually says about the server. Error rates are faults over answers and faults.
    ///
    /// Two outcomes may say less: a timeout of the caller that is shorter than `call_timeout` or passed while it waited for a
    /// session, and a request that was refused for its content. Those are recorded as [`Judgement::Nothing`] by [`ServerMetrics::call_judged`](crate::ServerMetrics::call_judged).
    #[must_use]
    pub const fn judgement(self) -> Judgement {
        match self {
            Self::Ok | Self::ToolError | Self::Protocol => Judgement::Answered,
            Self::Connection | Self::Timeout | Self::HealthCheck | Self::OutcomeUnknown => {
                Judgement::Fault
            }
            Self::CircuitOpen => Judgement::Refused,
            // A full queue, credentials and settings are not the server's fault. A lost session is counted elsewhere.
            Self::Exhausted
            | Self::Authentication
            | Self::Validation
            | Self::Cancelled
            | Self::Config
            | Self::ShuttingDown
            | Self::StateLost => Judgement::Nothing,
        }
    }
}

impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls pass.
    #[default]
    Closed,
    /// A few calls pass as probes.
    HalfOpen,
    /// Calls are refused.
    Open,
}

impl BreakerState {
    /// `closed`, `half_open` or `open`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }

    /// Its number in `mcp_circuit_breaker_state`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}
