//! So many faults in a row.
//!
//! The quickest to notice that the other side is gone, at any rate of calls, and blind to one that fails every other
//! time: hence the [window](super::window) beside it. Ignored results neither count nor break the row.

use std::time::Duration;

use failsafe::FailurePolicy;

use super::{Note, TRIP};

#[derive(Clone, Debug)]
pub(crate) struct Consecutive {
    threshold: u32,
    faults: u32,
    failed: bool,
}

impl Consecutive {
    pub(crate) fn new(threshold: u32) -> Self {
        Self {
            threshold,
            faults: 0,
            failed: true,
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.failed = note.fault;
    }

    /// Faults since the last success.
    pub(crate) fn faults(&self) -> u32 {
        self.faults
    }
}

impl FailurePolicy for Consecutive {
    fn record_success(&mut self) {
        self.faults = 0;
    }

    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        if !self.failed {
            self.faults = 0;
            return None;
        }
        self.faults = self.faults.saturating_add(1);
        if self.faults >= self.threshold {
            TRIP
        } else {
            None
        }
    }

    fn revived(&mut self) {
        self.faults = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_between_faults_starts_the_row_anew() {
        let mut policy = Consecutive::new(3);
        for _ in 0..100 {
            assert_eq!(policy.mark_dead_on_failure(), None);
            assert_eq!(policy.mark_dead_on_failure(), None);
            policy.record_success();
        }
        assert_eq!(policy.mark_dead_on_failure(), None);
        assert_eq!(policy.mark_dead_on_failure(), None);
        assert_eq!(policy.mark_dead_on_failure(), TRIP);
    }

    #[test]
    fn a_slow_success_breaks_the_row_as_any_success_does() {
        let mut policy = Consecutive::new(2);
        let at = tokio::time::Instant::now();
        assert_eq!(policy.mark_dead_on_failure(), None);
        policy.note(Note {
            in_rates: true,
            at,
            fault: false,
            slow: true,
        });
        assert_eq!(policy.mark_dead_on_failure(), None);
        policy.note(Note {
            in_rates: true,
            at,
            fault: true,
            slow: false,
        });
        assert_eq!(
            policy.mark_dead_on_failure(),
            None,
            "the first fault of a new row"
        );
        assert_eq!(policy.mark_dead_on_failure(), TRIP);
    }
}
