//! Health rules: the thresholds, and what a snapshot beyond them means.
//!
//! A pure function, so that its rules can be tested as a table.

use super::{Health, HealthStatus};
use crate::{
    outcome::BreakerState,
    snapshot::{ServerSnapshot, Summary},
};

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
