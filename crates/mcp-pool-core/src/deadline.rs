//! Moments to come, however far.

use std::time::Duration;

use tokio::time::Instant;

/// No deadline is later: the clock ends somewhere, and settings may say "never" by the longest duration there is.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// So long from now, or thirty years.
pub(crate) fn after(duration: Duration) -> Instant {
    later(Instant::now(), duration)
}

/// So long after a moment, or thirty years.
pub(crate) fn later(moment: Instant, duration: Duration) -> Instant {
    moment + duration.min(FAR)
}
