//! Alerts: conditions that last, each reported once.
//!
//! [`AlertRules`] is a pure function from a snapshot to the conditions that hold. [`Alerts`] tracks them over time: one alert
//! for each server and kind, raised once, updated while its condition holds, and resolved when that has been gone for a
//! while. A condition that comes and goes faster is one alert, not many.

mod rules;
mod tracker;

use std::{fmt, time::SystemTime};

pub use rules::{AlertRules, Condition};
use serde::{Serialize, Serializer};
use tokio::time::Instant;
pub use tracker::Alerts;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertKind {
    /// Callers wait, and nearly all capacity at the maximum size is used.
    PoolExhaustion,
    /// The circuit breaker is open.
    CircuitBreakerOpen,
    /// Too many calls fail.
    HighErrorRate,
    /// The last health probe was not answered.
    HealthCheckFailure,
    /// Calls take too long.
    SlowResponses,
    /// Sessions crash, or fail to open, repeatedly.
    CrashLoop,
}

/// The severity of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Calls are served.
    Warning,
    /// Calls fail, or soon will.
    Critical,
}

/// An alert, active or resolved.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Alert {
    /// The server.
    pub server: String,
    /// The same, as the JSON of pools names it.
    pub server_name: String,
    /// What it is about.
    pub kind: AlertKind,
    /// The highest severity it has had.
    pub severity: Severity,
    /// The server and the condition as last observed.
    pub message: String,
    /// The value last measured: a ratio, a count or seconds, like the threshold.
    pub value: f64,
    /// The threshold that the value exceeds.
    pub threshold: f64,
    /// When it was raised.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub raised_at: SystemTime,
    /// When its condition was last observed.
    #[serde(serialize_with = "rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_seen: SystemTime,
    /// When it was resolved; `None` while it is active.
    #[serde(serialize_with = "optional_rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub resolved_at: Option<SystemTime>,
    /// Until when it is not reported; `None` if it is not silenced.
    #[serde(serialize_with = "optional_rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub silenced_until: Option<SystemTime>,
}

/// A change of an alert. Each is returned once, also of silenced alerts: see [`Alert::silenced_until`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", content = "alert", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertEvent {
    /// It is new, or active at the end of a silence.
    Raised(Alert),
    /// It was a warning and has become critical.
    Escalated(Alert),
    /// Its condition has been gone for a while.
    Resolved(Alert),
}

/// A point in time: on the monotonic clock, to measure, and on the wall clock, to show.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Moment {
    /// On tokio's clock, which tests can move.
    pub instant: Instant,
    /// On the system's clock.
    pub wall: SystemTime,
}

impl Moment {
    /// The present.
    #[must_use]
    pub fn now() -> Self {
        Self::new(Instant::now(), SystemTime::now())
    }

    /// Any other.
    #[must_use]
    pub fn new(instant: Instant, wall: SystemTime) -> Self {
        Self { instant, wall }
    }
}

impl Alert {
    /// Whether it is not resolved.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.resolved_at.is_none()
    }
}

impl AlertEvent {
    /// The alert as it is now.
    #[must_use]
    pub fn alert(&self) -> &Alert {
        match self {
            Self::Raised(alert) | Self::Escalated(alert) | Self::Resolved(alert) => alert,
        }
    }
}

impl AlertKind {
    /// All kinds, in the order in which they are declared.
    pub const ALL: [Self; 6] = [
        Self::PoolExhaustion,
        Self::CircuitBreakerOpen,
        Self::HighErrorRate,
        Self::HealthCheckFailure,
        Self::SlowResponses,
        Self::CrashLoop,
    ];

    /// The name under which the kind appears in JSON and log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PoolExhaustion => "pool_exhaustion",
            Self::CircuitBreakerOpen => "circuit_breaker_open",
            Self::HighErrorRate => "high_error_rate",
            Self::HealthCheckFailure => "health_check_failure",
            Self::SlowResponses => "slow_responses",
            Self::CrashLoop => "crash_loop",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Severity {
    /// `warning` or `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

#[allow(clippy::ref_option, reason = "the signature is serde's")]
fn optional_rfc3339<S: Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}
