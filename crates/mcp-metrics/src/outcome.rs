//! How a call ended, and what that says about its server.
//!
//! [`CallOutcome::judgement`] is the one table. Error rates, health and alerts read it, and so does the circuit breaker of
//! the facade, so that what opens a breaker and what makes a server critical are the same things.

use std::fmt;

use serde::Serialize;

/// How a call ended, as its caller saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallOutcome {
    /// With a result.
    Ok,
    /// With a result that says that the tool failed.
    ToolError,
    /// With a JSON-RPC error of the server.
    Protocol,
    /// There was no connection, or it broke before the request was sent.
    Connection,
    /// As many callers waited as may.
    Exhausted,
    /// A limit in time passed.
    Timeout,
    /// A session did not answer a probe.
    HealthCheck,
    /// The request was sent and no answer came.
    OutcomeUnknown,
    /// The server wanted other credentials.
    Authentication,
    /// The circuit breaker refused the call.
    CircuitOpen,
    /// The arguments or the result were not what the schema says.
    Validation,
    /// The caller went away.
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
    /// It answered, with whatever.
    Answered,
    /// It did not, and should have.
    Fault,
    /// The circuit breaker did not let the call through: nothing that is not known already.
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

    /// Whether the call failed for its caller, who had done nothing wrong and got no answer. That is more than the server is
    /// to blame for: see [`CallOutcome::judgement`].
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

    /// What the outcome says about the server, as a rule. Error rates are faults over answers and faults.
    ///
    /// Two outcomes may say less: a timeout that was a caller's own and shorter than `call_timeout`, or passed while the
    /// caller waited for a free session; and a request that was turned away for what its caller put into it. Those are
    /// recorded as [`Judgement::Nothing`], by [`ServerMetrics::call_judged`](crate::ServerMetrics::call_judged).
    #[must_use]
    pub const fn judgement(self) -> Judgement {
        match self {
            Self::Ok | Self::ToolError | Self::Protocol => Judgement::Answered,
            Self::Connection | Self::Timeout | Self::HealthCheck | Self::OutcomeUnknown => {
                Judgement::Fault
            }
            Self::CircuitOpen => Judgement::Refused,
            // A full queue, credentials and settings are not the server's. That a session was lost has been counted.
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
