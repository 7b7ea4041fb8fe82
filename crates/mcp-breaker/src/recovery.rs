//! Recovery time: how long the breaker stays open.
//!
//! The first trip takes the base time. Each repeated trip multiplies it by the factor, up to a maximum. A trip is
//! repeated if it comes from half-open, or before the breaker was closed for as long as it was open before.
//!
//! The time is spread evenly over ± `jitter` of itself, so that breakers tripped by one outage do not all probe at once.
//! failsafe's backoffs are not used: they panic below one second, and their jitter can give zero.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct RecoverySettings {
    pub(crate) base: Duration,
    pub(crate) max: Duration,
    pub(crate) factor: f64,
    pub(crate) jitter: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    settings: RecoverySettings,
    repeats: u32,
    last: Duration,
    closed_at: Option<Instant>,
}

impl Recovery {
    pub(crate) fn new(settings: RecoverySettings) -> Self {
        Self {
            settings,
            repeats: 0,
            last: Duration::ZERO,
            closed_at: None,
        }
    }

    /// The time to stay open after a trip from closed.
    pub(crate) fn tripped(&mut self, now: Instant) -> Duration {
        let relapse = self
            .closed_at
            .is_some_and(|closed_at| now.saturating_duration_since(closed_at) < self.last);
        self.repeats = if relapse {
            self.repeats.saturating_add(1)
        } else {
            0
        };
        self.next()
    }

    /// The time to stay open after a failed probe.
    pub(crate) fn reopened(&mut self) -> Duration {
        self.repeats = self.repeats.saturating_add(1);
        self.next()
    }

    /// The breaker closed because its probes succeeded.
    pub(crate) fn closed(&mut self, now: Instant) {
        self.closed_at = Some(now);
    }

    /// Forgets all trips.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.settings);
    }

    fn next(&mut self) -> Duration {
        let RecoverySettings {
            base,
            max,
            factor,
            jitter,
        } = self.settings;
        // As floats: an overflow is infinite, and becomes the maximum.
        let grown = base.as_secs_f64() * factor.powi(self.repeats.min(1_000) as i32);
        let nominal = if grown < max.as_secs_f64() {
            Duration::from_secs_f64(grown)
        } else {
            max
        };
        self.last = if jitter > 0.0 {
            nominal.mul_f64(1.0 + jitter * (2.0 * fastrand::f64() - 1.0))
        } else {
            nominal
        };
        self.last = self.last.max(Duration::from_nanos(1));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery(jitter: f64) -> Recovery {
        Recovery::new(RecoverySettings {
            base: Duration::from_secs(60),
            max: Duration::from_secs(600),
            factor: 2.0,
            jitter,
        })
    }

    #[test]
    fn it_doubles_on_failed_probes_up_to_the_maximum() {
        let mut recovery = recovery(0.0);
        let mut seen = vec![recovery.tripped(Instant::now()).as_secs()];
        seen.extend((0..5).map(|_| recovery.reopened().as_secs()));
        assert_eq!(seen, [60, 120, 240, 480, 600, 600]);
        for _ in 0..5_000 {
            assert_eq!(recovery.reopened().as_secs(), 600, "and nothing overflows");
        }
    }

    #[test]
    fn a_relapse_goes_on_growing_and_a_calm_time_forgives() {
        let mut recovery = recovery(0.0);
        let now = Instant::now();
        assert_eq!(recovery.tripped(now).as_secs(), 60);
        recovery.closed(now);
        assert_eq!(
            recovery.tripped(now + Duration::from_secs(59)).as_secs(),
            120
        );
        recovery.closed(now);
        assert_eq!(
            recovery.tripped(now + Duration::from_secs(119)).as_secs(),
            240
        );
        recovery.closed(now);
        assert_eq!(
            recovery.tripped(now + Duration::from_secs(240)).as_secs(),
            60,
            "closed as long as it was open"
        );
    }

    #[test]
    fn a_reset_forgives() {
        let mut recovery = recovery(0.0);
        recovery.tripped(Instant::now());
        recovery.reopened();
        recovery.reset();
        assert_eq!(recovery.tripped(Instant::now()).as_secs(), 60);
    }

    #[test]
    fn jitter_spreads_within_its_bounds_and_uses_them() {
        let drawn: Vec<f64> = (0..2_000)
            .map(|_| recovery(0.1).tripped(Instant::now()).as_secs_f64())
            .collect();
        assert!(drawn.iter().all(|seconds| (54.0..=66.0).contains(seconds)));
        assert!(
            drawn.iter().any(|seconds| *seconds < 55.0)
                && drawn.iter().any(|seconds| *seconds > 65.0)
        );
    }
}
