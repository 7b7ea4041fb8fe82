//! The settings of a breaker and their validation.

use std::time::Duration;

use crate::{
    policy::{Combined, Consecutive, Window, WindowLimits},
    recovery::RecoverySettings,
    state_machine::ProbeLimits,
};
use tokio::time::Instant;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) failure_threshold: Option<u32>,
    pub(crate) window: WindowLimits,
    pub(crate) slow_after: Duration,
    pub(crate) recovery: RecoverySettings,
    pub(crate) probes: ProbeLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failure_threshold: Some(5),
            window: WindowLimits {
                length: Duration::from_secs(60),
                minimum_calls: 10,
                fault_rate: Some(0.5),
                slow_rate: None,
            },
            slow_after: Duration::MAX,
            recovery: RecoverySettings {
                base: Duration::from_secs(60),
                max: Duration::from_secs(600),
                factor: 2.0,
                jitter: 0.1,
            },
            probes: ProbeLimits {
                max_calls: 3,
                successes: 2,
                time: Duration::from_secs(30),
            },
        }
    }
}

impl Settings {
    pub(crate) fn validate(&self) -> Result<(), InvalidSettings> {
        let mut problems = Vec::new();
        let mut at_least_one = |name: &str, value: u32| {
            if value == 0 {
                problems.push(format!("{name} must be at least 1"));
            }
        };
        at_least_one("failure_threshold", self.failure_threshold.unwrap_or(1));
        at_least_one("minimum_calls", self.window.minimum_calls);
        at_least_one("half_open_max_calls", self.probes.max_calls);
        at_least_one("success_threshold", self.probes.successes);

        for (name, rate) in [
            ("failure_rate", self.window.fault_rate),
            ("slow_call_rate", self.window.slow_rate),
        ] {
            if rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1.0)) {
                problems.push(format!("{name} must be above 0 and at most 1"));
            }
        }
        // The longest time is bounded so that no sum of times can overflow.
        for (name, time) in [
            ("window", self.window.length),
            ("recovery_timeout", self.recovery.base),
            ("max_recovery_timeout", self.recovery.max),
            ("probe_limit", self.probes.time),
        ] {
            if time.is_zero() || time > LONGEST {
                problems.push(format!("{name} must be above zero and at most ten years"));
            }
        }
        if self.recovery.max < self.recovery.base {
            problems.push("max_recovery_timeout must not be below recovery_timeout".to_owned());
        }
        if !(self.recovery.factor >= 1.0 && self.recovery.factor.is_finite()) {
            problems.push("recovery_factor must be at least 1".to_owned());
        }
        if !(0.0..1.0).contains(&self.recovery.jitter) {
            problems.push("recovery_jitter must be at least 0 and below 1".to_owned());
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(InvalidSettings { problems })
        }
    }

    /// The policy. Without any limit it never trips.
    pub(crate) fn policy(&self, now: Instant) -> Combined {
        let window = self.window.fault_rate.is_some() || self.window.slow_rate.is_some();
        Combined::new(
            self.failure_threshold.map(Consecutive::new),
            window.then(|| Window::new(self.window, now)),
        )
    }

    /// From when on a call is slow, if slow calls are watched.
    pub(crate) fn slow_after(&self) -> Option<Duration> {
        self.window.slow_rate.map(|_| self.slow_after)
    }

    /// Whether a plain success needs to know the time.
    pub(crate) fn timed(&self) -> bool {
        self.window.fault_rate.is_some() || self.window.slow_rate.is_some()
    }
}

/// Invalid settings, with every problem and not only the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid circuit breaker settings: {}", problems.join("; "))]
pub struct InvalidSettings {
    problems: Vec<String>,
}

impl InvalidSettings {
    /// One line for each problem. It names the setting.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// The longest time a setting may have: ten years.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
