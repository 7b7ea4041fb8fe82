//! Alert rules: from a snapshot to the conditions that hold.

use std::time::Duration;

use super::{AlertKind, Severity};
use crate::{outcome::BreakerState, snapshot::ServerSnapshot};

/// The thresholds of alerts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AlertRules {
    /// A warning above this utilisation, from 0 to 1, where callers wait. Default: 0.9.
    pub utilization_warning: f64,
    /// Critical from this utilisation on, where callers wait. Default: 0.95.
    pub utilization_critical: f64,
    /// A warning above this error rate, from 0 to 1. Default: 0.1.
    pub error_rate_warning: f64,
    /// Critical from this error rate on. Default: 0.2.
    pub error_rate_critical: f64,
    /// Error rates and durations of fewer calls in the window are ignored. Default: 10.
    pub minimum_calls: u64,
    /// A warning if one call in ten takes longer than this. Default: 30 s.
    pub slow_after: Duration,
    /// Critical from this number of crashes in the window on. Default: 5.
    pub crashes: u64,
    /// How long a condition holds before its alert is raised. Default: zero.
    pub raise_after: Duration,
    /// How long a condition is gone before its alert is resolved. Default: one minute.
    pub resolve_after: Duration,
}

impl Default for AlertRules {
    fn default() -> Self {
        Self {
            utilization_warning: 0.9,
            utilization_critical: 0.95,
            error_rate_warning: 0.1,
            error_rate_critical: 0.2,
            minimum_calls: 10,
            slow_after: Duration::from_secs(30),
            crashes: 5,
            raise_after: Duration::ZERO,
            resolve_after: Duration::from_secs(60),
        }
    }
}

/// A condition that holds in a snapshot.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Condition {
    /// What it is about.
    pub kind: AlertKind,
    /// Its severity.
    pub severity: Severity,
    /// The measured value.
    pub value: f64,
    /// The threshold that it exceeds.
    pub threshold: f64,
    /// Value and threshold in words.
    pub message: String,
}

impl AlertRules {
    /// The conditions that hold in a snapshot, at most one of each kind, in the order of the kinds.
    #[must_use]
    pub fn conditions(&self, server: &ServerSnapshot) -> Vec<Condition> {
        let rules = [
            self.pool_exhaustion(server),
            breaker_open(server),
            self.high_error_rate(server),
            health_check_failure(server),
            self.slow_responses(server),
            self.crash_loop(server),
        ];
        rules.into_iter().flatten().collect()
    }

    fn pool_exhaustion(&self, server: &ServerSnapshot) -> Option<Condition> {
        if server.waiters == 0 {
            return None;
        }
        let (severity, threshold) = exceeded(
            server.utilization,
            self.utilization_warning,
            self.utilization_critical,
        )?;
        Some(Condition {
            kind: AlertKind::PoolExhaustion,
            severity,
            value: server.utilization,
            threshold,
            message: format!("{} (max_connections, max_in_flight)", server.busiest_pool),
        })
    }

    fn high_error_rate(&self, server: &ServerSnapshot) -> Option<Condition> {
        let window = &server.window;
        if window.judged < self.minimum_calls.max(1) {
            return None;
        }
        let (severity, threshold) = exceeded(
            window.error_rate,
            self.error_rate_warning,
            self.error_rate_critical,
        )?;
        Some(Condition {
            kind: AlertKind::HighErrorRate,
            severity,
            value: window.error_rate,
            threshold,
            message: window.faults_in_words(),
        })
    }

    fn slow_responses(&self, server: &ServerSnapshot) -> Option<Condition> {
        let window = &server.window;
        let (value, threshold) = (window.call_seconds.p90?, self.slow_after.as_secs_f64());
        let slow = window.judged >= self.minimum_calls.max(1) && value > threshold;
        slow.then(|| Condition {
            kind: AlertKind::SlowResponses,
            severity: Severity::Warning,
            value,
            threshold,
            message: format!("one call in ten took {value:.3} s or longer"),
        })
    }

    fn crash_loop(&self, server: &ServerSnapshot) -> Option<Condition> {
        let window = &server.window;
        #[allow(clippy::cast_precision_loss, reason = "a few")]
        let (value, threshold) = (window.crashes as f64, self.crashes as f64);
        (window.crashes >= self.crashes).then(|| Condition {
            kind: AlertKind::CrashLoop,
            severity: Severity::Critical,
            value,
            threshold,
            message: window.crashes_in_words(),
        })
    }
}

fn breaker_open(server: &ServerSnapshot) -> Option<Condition> {
    (server.circuit_breaker_state == BreakerState::Open).then(|| Condition {
        kind: AlertKind::CircuitBreakerOpen,
        severity: Severity::Critical,
        value: f64::from(BreakerState::Open.number()),
        threshold: f64::from(BreakerState::Open.number()),
        message: "the circuit breaker is open: calls are refused".into(),
    })
}

fn health_check_failure(server: &ServerSnapshot) -> Option<Condition> {
    server.last_probe_failed.then(|| Condition {
        kind: AlertKind::HealthCheckFailure,
        severity: Severity::Warning,
        value: 1.0,
        threshold: 1.0,
        message: "the last health probe was not answered".into(),
    })
}

/// The severity of a value, with the threshold: above `warning`, or from `critical` on.
fn exceeded(value: f64, warning: f64, critical: f64) -> Option<(Severity, f64)> {
    if value >= critical {
        Some((Severity::Critical, critical))
    } else if value > warning {
        Some((Severity::Warning, warning))
    } else {
        None
    }
}
