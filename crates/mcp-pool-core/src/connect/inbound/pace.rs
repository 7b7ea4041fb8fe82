//! Rate limit on unsolicited messages of a server.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Messages a second. One of many bytes counts as one for each [`BYTES`].
const RATE: u32 = 10_000;
const BYTES: usize = 1_024;

/// How much of it may come at once.
const BURST: Duration = Duration::from_secs(2);

/// A rate limit that pauses reading: the server's pipe fills, and the server waits.
#[derive(Debug)]
pub(in crate::connect) struct Pace {
    /// When all that has been counted would have arrived at the allowed rate.
    due: Instant,
    has_paused: bool,
}

impl Pace {
    pub(in crate::connect) fn new() -> Self {
        Self {
            due: Instant::now(),
            has_paused: false,
        }
    }

    /// Counts a message of `size` bytes.
    pub(in crate::connect) fn count(&mut self, size: usize) {
        let messages = u32::try_from(1 + size / BYTES).unwrap_or(u32::MAX);
        self.due = self.due.max(Instant::now()) + Duration::from_secs(1) / RATE * messages;
    }

    /// Waits until the next message may be read.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(in crate::connect) async fn ready(&mut self) {
        let ahead = self.due.saturating_duration_since(Instant::now());
        let Some(pause) = ahead.checked_sub(BURST).filter(|pause| !pause.is_zero()) else {
            return;
        };
        if !self.has_paused {
            self.has_paused = true;
            tracing::warn!(
                "a server sends more than {RATE} unsolicited messages a second: it is read more slowly"
            );
        }
        sleep_until(Instant::now() + pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_a_flood_is_slowed_to_the_rate() {
        let mut pace = Pace::new();
        let began = Instant::now();
        for _ in 0..20_000 {
            pace.ready().await;
            pace.count(100);
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..30_000 {
            pace.ready().await;
            pace.count(100);
        }
        let took = began.elapsed();
        assert!((2_900..3_100).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_count_by_their_bytes() {
        let mut pace = Pace::new();
        let began = Instant::now();
        for _ in 0..4 {
            pace.ready().await;
            pace.count(16 * 1024 * 1024);
        }
        assert!(began.elapsed() > Duration::from_secs(2));
    }
}
