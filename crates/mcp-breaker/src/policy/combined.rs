//! Both policies at once: whichever trips first.
//!
//! Each sees every call. failsafe's `or_else` asks the second only if the first does not trip, and its sums would miss
//! that call.

use tokio::time::Instant;

use super::{Consecutive, Outcome, Window};
use crate::{TransitionReason, WindowCounts};

#[derive(Clone, Debug)]
pub(crate) struct Combined {
    consecutive: Option<Consecutive>,
    window: Option<Window>,
}

impl Combined {
    pub(crate) fn new(consecutive: Option<Consecutive>, window: Option<Window>) -> Self {
        Self {
            consecutive,
            window,
        }
    }

    /// Records a call. Returns why it trips, if it does; a success that was not slow never does.
    pub(crate) fn record(&mut self, outcome: Outcome) -> Option<TransitionReason> {
        let consecutive = self.consecutive.as_mut();
        let in_a_row = consecutive.and_then(|consecutive| consecutive.record(outcome));
        let window = self.window.as_mut().filter(|_| outcome.in_rates);
        let by_rate = window.and_then(|window| window.record(outcome));
        in_a_row.or(by_rate)
    }

    /// Forgets every call.
    pub(crate) fn clear(&mut self) {
        if let Some(consecutive) = &mut self.consecutive {
            consecutive.clear();
        }
        if let Some(window) = &mut self.window {
            window.clear();
        }
    }

    pub(crate) fn consecutive_faults(&self) -> u32 {
        self.consecutive.as_ref().map_or(0, Consecutive::faults)
    }

    pub(crate) fn window(&self, now: Instant) -> Option<WindowCounts> {
        self.window.as_ref().map(|window| window.counts(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::WindowLimits, *};

    struct Bench {
        policy: Combined,
        origin: Instant,
    }

    impl Bench {
        fn new(threshold: u32) -> Self {
            let origin = Instant::now();
            let limits = WindowLimits {
                length: Duration::from_secs(60),
                minimum_calls: 10,
                fault_rate: Some(0.5),
                slow_rate: None,
            };
            let policy = Combined::new(
                Some(Consecutive::new(threshold)),
                Some(Window::new(limits, origin)),
            );
            Self { policy, origin }
        }

        fn record(&mut self, fault: bool, in_rates: bool) -> Option<TransitionReason> {
            self.policy.record(Outcome {
                at: self.origin,
                fault,
                slow: false,
                in_rates,
            })
        }
    }

    #[test]
    fn consecutive_faults_trip_before_the_window_has_enough() {
        let mut bench = Bench::new(3);
        assert_eq!(bench.record(true, true), None);
        assert_eq!(bench.record(true, true), None);
        assert_eq!(
            bench.record(true, true),
            Some(TransitionReason::ConsecutiveFaults { count: 3 })
        );
    }

    #[test]
    fn every_other_call_failing_trips_by_rate() {
        let mut bench = Bench::new(3);
        for _ in 0..4 {
            assert_eq!(bench.record(false, true), None);
            assert_eq!(bench.record(true, true), None);
        }
        assert_eq!(bench.record(false, true), None);
        assert_eq!(
            bench.record(true, true),
            Some(TransitionReason::FaultRate {
                rate: 0.5,
                calls: 10
            })
        );
    }

    #[test]
    fn a_trip_by_consecutive_faults_is_in_the_window_too() {
        let mut bench = Bench::new(1);
        assert!(bench.record(true, true).is_some());
        assert_eq!(bench.policy.window(bench.origin).unwrap().faults, 1);
    }

    #[test]
    fn a_call_outside_the_rates_is_a_consecutive_fault_and_not_in_the_window() {
        let mut bench = Bench::new(2);
        assert_eq!(bench.record(true, false), None);
        assert_eq!(bench.policy.consecutive_faults(), 1);
        assert_eq!(bench.policy.window(bench.origin).unwrap().calls, 0);
        assert!(bench.record(true, false).is_some());
    }
}
