//! The health of a server, judged from its snapshot.
//!
//! A pure function, so that its rules can be tested as a table.

use serde::Serialize;

use crate::{
    outcome::BreakerState,
    snapshot::{ServerSnapshot, Summary},
};

/// The health of one server or of all. Later values are worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Nothing is wrong.
    #[default]
    Healthy,
    /// Something is wrong, but calls are served.
    Warning,
    /// Calls fail, or too many of them.
    Critical,
}

/// The health of a server, with reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Health {
    /// The worst of the reasons.
    pub status: HealthStatus,
    /// What is wrong, the worst first.
    pub reasons: Vec<HealthReason>,
}

/// A reason why a server is not healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct HealthReason {
    /// How serious it is.
    pub status: HealthStatus,
    /// What is wrong.
    pub message: String,
}

/// The thresholds of health.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HealthRules {
    /// A warning from this error rate on, from 0 to 1. Default: 0.1.
    pub error_rate_warning: f64,
    /// Critical from this error rate on. Default: 0.2.
    pub error_rate_critical: f64,
    /// An error rate of fewer calls in the window is ignored. Default: 10.
    pub minimum_calls: u64,
    /// A warning above this utilisation, from 0 to 1, where callers wait. Default: 0.9.
    pub utilization_warning: f64,
    /// Critical from this utilisation on, where callers wait. Default: 0.95.
    pub utilization_critical: f64,
    /// Critical from this number of crashes in the window on. Default: 5.
    pub crashes: u64,
}

impl Default for HealthRules {
    fn default() -> Self {
        Self {
            error_rate_warning: 0.1,
            error_rate_critical: 0.2,
            minimum_calls: 10,
            utilization_warning: 0.9,
            utilization_critical: 0.95,
            crashes: 5,
        }
    }
}

impl HealthRules {
    /// The health of a server.
    #[must_use]
    pub fn judge(&self, server: &ServerSnapshot) -> Health {
        let mut health = Health::default();
        let window = &server.window;
        match server.circuit_breaker_state {
            BreakerState::Closed => {}
            BreakerState::HalfOpen => health.warn("the circuit breaker is half-open"),
            BreakerState::Open => health.critical("the circuit breaker is open"),
        }
        if server.live_connections() == 0 && server.opens_failing {
            health.critical("no session is live, and openings fail");
        }
        if window.crashes >= self.crashes {
            health.critical(window.crashes_in_words());
        }
        if window.judged >= self.minimum_calls.max(1)
            && window.error_rate >= self.error_rate_warning
        {
            let message = window.faults_in_words();
            if window.error_rate >= self.error_rate_critical {
                health.critical(message);
            } else {
                health.warn(message);
            }
        }
        if server.waiters > 0 {
            let message = || server.busiest_pool.to_string();
            if server.utilization >= self.utilization_critical {
                health.critical(message());
            } else if server.utilization > self.utilization_warning {
                health.warn(message());
            }
        }
        if server.last_probe_failed {
            health.warn("the last health probe was not answered");
        }
        health
    }

    /// The health of all servers: the worst of them.
    #[must_use]
    pub fn overall(&self, summary: &Summary) -> HealthStatus {
        let servers = summary.pool_metrics.iter();
        servers
            .map(|server| self.judge(server).status)
            .max()
            .unwrap_or_default()
    }
}

impl Health {
    /// Adds a reason for a warning.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.add(HealthStatus::Warning, message.into());
    }

    /// Adds a reason that is critical.
    pub fn critical(&mut self, message: impl Into<String>) {
        self.add(HealthStatus::Critical, message.into());
    }

    fn add(&mut self, status: HealthStatus, message: String) {
        self.status = self.status.max(status);
        let worse = self.reasons.partition_point(|known| known.status >= status);
        self.reasons.insert(worse, HealthReason { status, message });
    }
}

impl HealthStatus {
    /// Its number in `mcp_pool_health`.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// `healthy`, `warning` or `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
