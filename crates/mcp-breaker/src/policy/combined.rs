//! Both policies at once: whichever trips first.
//!
//! Each sees every call, whatever the other says: failsafe's own `or_else` asks the second only if the first says no,
//! which would keep calls from its sums.

use std::time::Duration;

use failsafe::FailurePolicy;
use tokio::time::Instant;

use super::{Consecutive, Note, TRIP, Window};
use crate::{Reason, WindowCounts};

#[derive(Clone, Debug)]
pub(crate) struct Combined {
    consecutive: Option<Consecutive>,
    window: Option<Window>,
    /// Whether the next failure is part of the rates.
    in_rates: bool,
    reason: Option<Reason>,
}

impl Combined {
    pub(crate) fn new(consecutive: Option<Consecutive>, window: Option<Window>) -> Self {
        Self {
            consecutive,
            window,
            in_rates: true,
            reason: None,
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.in_rates = note.in_rates;
        if let Some(consecutive) = &mut self.consecutive {
            consecutive.note(note);
        }
        if let Some(window) = &mut self.window {
            window.note(note);
        }
    }

    /// Why it tripped, if it did the last time it was asked.
    pub(crate) fn reason(&self) -> Option<Reason> {
        self.reason
    }

    pub(crate) fn consecutive_faults(&self) -> u32 {
        self.consecutive.as_ref().map_or(0, Consecutive::faults)
    }

    pub(crate) fn window(&self, now: Instant) -> Option<WindowCounts> {
        self.window.as_ref().map(|window| window.counts(now))
    }
}

impl FailurePolicy for Combined {
    fn record_success(&mut self) {
        if let Some(consecutive) = &mut self.consecutive {
            consecutive.record_success();
        }
        if let Some(window) = &mut self.window {
            window.record_success();
        }
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        let in_a_row = self.consecutive.as_mut().and_then(|consecutive| {
            consecutive
                .mark_dead_on_failure()
                .map(|_| Reason::ConsecutiveFaults {
                    count: consecutive.faults(),
                })
        });
        let window = self.window.as_mut().filter(|_| self.in_rates);
        let by_rate = window.and_then(|window| {
            window.mark_dead_on_failure();
            window.reason()
        });
        self.reason = in_a_row.or(by_rate);
        if self.reason.is_some() { TRIP } else { None }
    }

    fn revived(&mut self) {
        if let Some(consecutive) = &mut self.consecutive {
            consecutive.revived();
        }
        if let Some(window) = &mut self.window {
            window.revived();
        }
        self.reason = None;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::WindowLimits, *};

    fn combined(threshold: u32) -> (Combined, Instant) {
        let origin = Instant::now();
        let limits = WindowLimits {
            length: Duration::from_secs(60),
            minimum_calls: 10,
            fault_rate: Some(0.5),
            slow_rate: None,
        };
        let combined = Combined::new(
            Some(Consecutive::new(threshold)),
            Some(Window::new(limits, origin)),
        );
        (combined, origin)
    }

    #[test]
    fn the_row_trips_before_the_window_has_enough() {
        let (mut policy, _) = combined(3);
        assert_eq!(policy.mark_dead_on_failure(), None);
        assert_eq!(policy.mark_dead_on_failure(), None);
        assert_eq!(policy.mark_dead_on_failure(), TRIP);
        assert_eq!(
            policy.reason(),
            Some(Reason::ConsecutiveFaults { count: 3 })
        );
    }

    #[test]
    fn every_other_call_failing_trips_by_rate() {
        let (mut policy, _) = combined(3);
        for _ in 0..4 {
            policy.record_success();
            assert_eq!(policy.mark_dead_on_failure(), None);
        }
        policy.record_success();
        assert_eq!(policy.mark_dead_on_failure(), TRIP);
        assert_eq!(
            policy.reason(),
            Some(Reason::FaultRate {
                rate: 0.5,
                calls: 10
            })
        );
    }

    #[test]
    fn a_trip_by_the_row_is_in_the_sums_too() {
        let (mut policy, origin) = combined(1);
        assert_eq!(policy.mark_dead_on_failure(), TRIP);
        assert_eq!(policy.window(origin).unwrap().faults, 1);
    }
}
