//! Rate limit on unsolicited messages of a server.
//!
//! Past the rate, reading pauses: the server's pipe or connection fills, and the server waits. Without a limit, a server
//! that never stops talking takes the processor from the calls of every other server.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

/// Messages a second. Each KiB of them counts as one more.
const RATE: f64 = 10_000.0;
const KIB: f64 = 1_024.0;

/// How much of it may come at once.
const BURST: Duration = Duration::from_secs(2);

/// The pace of one server, on all streams of a session or on one of them.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When all that has been counted would have arrived at the allowed rate.
    due: Instant,
    has_paused: bool,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            due: Instant::now(),
            has_paused: false,
        }))
    }

    /// Counts a message of `bytes`.
    pub(crate) fn count(&self, bytes: usize) {
        self.add(1.0, bytes);
    }

    /// Counts bytes that are part of no message.
    #[cfg(feature = "http")]
    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.add(0.0, bytes);
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "sizes are far below where it matters"
    )]
    fn add(&self, messages: f64, bytes: usize) {
        let cost = Duration::from_secs_f64((messages + bytes as f64 / KIB) / RATE);
        let mut state = self.0.lock();
        state.due = state.due.max(Instant::now()) + cost;
    }

    /// Waits until the server may be read on. The first pause is logged under the server's name.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub(crate) async fn ready(&self, server: &str) {
        let pause = self.pause(server);
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }

    fn pause(&self, server: &str) -> Duration {
        let mut state = self.0.lock();
        let ahead = state.due.saturating_duration_since(Instant::now());
        let pause = ahead.saturating_sub(BURST);
        if !pause.is_zero() && !std::mem::replace(&mut state.has_paused, true) {
            drop(state);
            tracing::warn!(
                server,
                "a server sends more than {RATE} unsolicited messages a second: it is read more slowly"
            );
        }
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a server is read that sends so many messages of so many bytes.
    async fn reading(pace: &Pace, messages: usize, bytes: usize) -> Duration {
        let began = Instant::now();
        for _ in 0..messages {
            pace.ready("a").await;
            pace.count(bytes);
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_a_flood_is_slowed_to_the_rate() {
        let pace = Pace::new();
        assert_eq!(reading(&pace, 20_000, 0).await, Duration::ZERO);
        let took = reading(&pace, 30_000, 0).await;
        assert!((2_900..3_100).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_count_by_their_bytes() {
        let took = reading(&Pace::new(), 4, 16 * 1024 * 1024).await;
        assert!(took > Duration::from_secs(2), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_silent_has_its_burst_again() {
        let pace = Pace::new();
        reading(&pace, 40_000, 0).await;
        sleep(Duration::from_secs(3)).await;
        assert_eq!(reading(&pace, 19_000, 0).await, Duration::ZERO);
    }
}
