//! A number of consecutive faults.
//!
//! It notices first that a server is gone, at any rate of calls. It never notices one that fails every other call: the
//! [window](super::window) does. Ignored results neither count nor end the row.

use super::Outcome;
use crate::TransitionReason;

#[derive(Clone, Debug)]
pub(crate) struct Consecutive {
    threshold: u32,
    faults: u32,
}

impl Consecutive {
    pub(crate) fn new(threshold: u32) -> Self {
        Self {
            threshold,
            faults: 0,
        }
    }

    pub(crate) fn record(&mut self, outcome: Outcome) -> Option<TransitionReason> {
        if !outcome.fault {
            self.faults = 0;
            return None;
        }
        self.faults = self.faults.saturating_add(1);
        let count = self.faults;
        (count >= self.threshold).then_some(TransitionReason::ConsecutiveFaults { count })
    }

    pub(crate) fn clear(&mut self) {
        self.faults = 0;
    }

    /// Faults since the last success.
    pub(crate) fn faults(&self) -> u32 {
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(policy: &mut Consecutive, fault: bool, slow: bool) -> bool {
        let outcome = Outcome {
            at: tokio::time::Instant::now(),
            fault,
            slow,
            in_rates: true,
        };
        policy.record(outcome).is_some()
    }

    #[test]
    fn a_success_between_faults_starts_the_row_again() {
        let mut policy = Consecutive::new(3);
        for _ in 0..100 {
            assert!(!record(&mut policy, true, false));
            assert!(!record(&mut policy, true, false));
            assert!(!record(&mut policy, false, false));
        }
        assert!(!record(&mut policy, true, false));
        assert!(!record(&mut policy, true, false));
        assert!(record(&mut policy, true, false));
    }

    #[test]
    fn a_slow_success_ends_the_row_as_any_success_does() {
        let mut policy = Consecutive::new(2);
        assert!(!record(&mut policy, true, false));
        assert!(!record(&mut policy, false, true));
        assert!(
            !record(&mut policy, true, false),
            "the first fault of a new row"
        );
        assert!(record(&mut policy, true, false));
    }
}
