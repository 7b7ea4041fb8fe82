//! How a call ended, and what that says.

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
    pub const ALL: [Self; 14] = [
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
        }
    }

    /// What the outcome says about the server. Error rates are faults over answers and faults.
    #[must_use]
    pub const fn judgement(self) -> Judgement {
        match self {
            Self::Ok | Self::ToolError | Self::Protocol => Judgement::Answered,
            Self::Connection
            | Self::Exhausted
            | Self::Timeout
            | Self::HealthCheck
            | Self::OutcomeUnknown
            | Self::Authentication => Judgement::Fault,
            Self::CircuitOpen => Judgement::Refused,
            Self::Validation | Self::Cancelled | Self::Config | Self::ShuttingDown => {
                Judgement::Nothing
            }
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
