//! The metrics: each one's name beside its kind, unit, labels and meaning.
//!
//! Recorders are given their descriptions from this table, and `docs/metrics.md` is made from it.

use metrics::{KeyName, Recorder, Unit};

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Counts up from the start of the program.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution of durations: their number up to each bound, their sum and their total number.
    Histogram,
}

impl Kind {
    /// `counter`, `gauge` or `histogram`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric and its description.
#[derive(Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its meaning.
    pub description: &'static str,
}

macro_rules! catalog {
    ($($(#[$attribute:meta])* $constant:ident: $kind:ident $name:literal $labels:expr, $unit:ident, $description:literal;)*) => {
        $(
            $(#[$attribute])*
            #[doc = $description]
            pub const $constant: &Metric = &Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &$labels,
                description: $description,
            };
        )*

        /// All metrics, in the order of their documentation.
        pub const ALL: &[&Metric] = &[$($(#[$attribute])* $constant),*];
    };
}

catalog! {
    POOL_CONNECTIONS: Gauge "mcp_pool_connections" ["server", "state"], Count,
        "Sessions by state: idle, active (in use) or connecting.";
    POOL_MAX_CONNECTIONS: Gauge "mcp_pool_max_connections" ["server"], Count,
        "The limit on sessions.";
    POOL_IN_FLIGHT: Gauge "mcp_pool_in_flight" ["server"], Count,
        "Calls that sessions carry.";
    POOL_CAPACITY: Gauge "mcp_pool_capacity" ["server"], Count,
        "Calls that the maximum number of sessions can carry.";
    POOL_UTILIZATION: Gauge "mcp_pool_utilization" ["server"], Count,
        "In flight over capacity, from 0 to 1, of the pool in which callers wait, or else of the fullest.";
    POOL_HEALTH: Gauge "mcp_pool_health" ["server"], Count,
        "The health of the server: 0 healthy, 1 warning, 2 critical.";
    POOL_WAITERS: Gauge "mcp_pool_waiters" ["server"], Count,
        "Callers that wait for a session.";
    POOL_LONGEST_WAIT: Gauge "mcp_pool_longest_wait_seconds" ["server"], Seconds,
        "How long the first waiting caller has waited.";
    POOL_HITS: Counter "mcp_pool_hits_total" ["server"], Count,
        "Callers served by a session that was already open.";
    POOL_MISSES: Counter "mcp_pool_misses_total" ["server"], Count,
        "Callers that waited for a session to be opened.";
    POOL_ACQUIRE: Histogram "mcp_pool_acquire_seconds" ["server"], Seconds,
        "How long callers waited for a session.";
    POOL_OPEN: Histogram "mcp_pool_open_seconds" ["server"], Seconds,
        "How long it took to open a session, from the decision to ready.";
    SESSION_AGE: Histogram "mcp_session_age_seconds" ["server"], Seconds,
        "How old sessions were when they were closed.";
    CONNECTIONS_OPENED: Counter "mcp_pool_connections_opened_total" ["server"], Count,
        "Sessions opened.";
    CONNECTIONS_CLOSED: Counter "mcp_pool_connections_closed_total" ["server", "reason"], Count,
        "Sessions closed, by reason.";
    CONNECTION_ERRORS: Counter "mcp_pool_connection_errors_total" ["server", "phase"], Count,
        "Openings that failed for good, by phase.";
    CALLS: Counter "mcp_calls_total" ["server", "outcome"], Count,
        "Calls that have ended, by outcome.";
    CALL_DURATION: Histogram "mcp_call_duration_seconds" ["server", "outcome"], Seconds,
        "Durations of calls by outcome, with waits, openings and retries.";
    RETRIES: Counter "mcp_retries_total" ["server"], Count,
        "Calls made once more after a failure.";
    FALLBACKS: Counter "mcp_fallbacks_total" ["server"], Count,
        "Calls made outside of the pool because it was full.";
    OUTCOME_UNKNOWN: Counter "mcp_outcome_unknown_total" ["server"], Count,
        "Calls that were sent and not answered. They may have run.";
    BREAKER_STATE: Gauge "mcp_circuit_breaker_state" ["server"], Count,
        "The state of the circuit breaker: 0 closed, 1 half-open, 2 open.";
    BREAKER_TRANSITIONS: Counter "mcp_circuit_breaker_transitions_total" ["server", "to"], Count,
        "Transitions of the circuit breaker, by the state entered.";
    BREAKER_REJECTED: Counter "mcp_circuit_breaker_rejected_total" ["server"], Count,
        "Calls that the circuit breaker refused.";
    HEALTH_CHECKS: Counter "mcp_health_checks_total" ["server", "outcome"], Count,
        "Health probes by outcome: alive or dead.";
    ALERTS: Gauge "mcp_alerts" ["server", "kind", "severity"], Count,
        "Whether an alert of the kind is active: 1 or 0.";
    BUILD_INFO: Gauge "mcp_pool_build_info" ["version"], Count,
        "Always 1; the label has the version.";
    #[cfg(feature = "otel")]
    OTEL_OPERATION: Histogram "mcp.client.operation.duration" ["server", "mcp.method.name", "error.type", "gen_ai.operation.name", "gen_ai.tool.name", "network.transport"], Seconds,
        "The duration of the MCP request as observed on the sender.";
    #[cfg(feature = "otel")]
    OTEL_SESSION: Histogram "mcp.client.session.duration" ["server", "error.type", "network.transport"], Seconds,
        "The duration of the MCP session as observed on the MCP client.";
}

/// Describes all metrics to a recorder, with their units.
pub fn describe(recorder: &dyn Recorder) {
    for metric in ALL {
        let (name, unit) = (KeyName::from_const_str(metric.name), Some(metric.unit));
        let description = metric.description.into();
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, unit, description),
            Kind::Gauge => recorder.describe_gauge(name, unit, description),
            Kind::Histogram => recorder.describe_histogram(name, unit, description),
        }
    }
}
