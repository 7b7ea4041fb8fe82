//! Deadline arithmetic that saturates instead of overflowing.

use std::time::Duration;

use tokio::time::Instant;

/// No deadline is later: the clock ends somewhere, and settings may say "never" by the longest duration there is.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The moment `duration` from now, or thirty years from now if that is sooner.
pub(crate) fn after(duration: Duration) -> Instant {
    later(Instant::now(), duration)
}

/// The moment `duration` after another, or thirty years after it if that is sooner.
pub(crate) fn later(moment: Instant, duration: Duration) -> Instant {
    moment + duration.min(FAR)
}
