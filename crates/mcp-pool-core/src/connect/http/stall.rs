//! Notices servers on which a kept connection is slower than a fresh one.
//!
//! A server that does not set `TCP_NODELAY` and answers in two writes, head and body, has the second held back by
//! Nagle's algorithm until the first is acknowledged, and Linux delays that acknowledgement by 40 ms on a connection
//! in steady use. A fresh connection is acknowledged at once. rmcp's own server under `axum::serve` is of that kind
//! (bench B6, without NODELAY). The client cannot mend the server, and reqwest does not let it acknowledge sooner, so it
//! looks for the signature, tries fresh connections, and stays with what is faster.

use std::time::Duration;

/// Answers looked at before a suspicion, and how many of them must bear the signature.
const WINDOW: usize = 8;
const SUSPICIOUS: usize = 6;
/// What a delayed acknowledgement adds, and room for the call itself.
const SIGNATURE: std::ops::Range<Duration> = Duration::from_millis(36)..Duration::from_millis(70);
/// Answers over fresh connections that decide.
const TRIAL: usize = 4;
/// A suspicion that proved wrong is not raised again for so many answers: the tool just takes that long.
const REST: u32 = 1_000;

/// How to send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Kept,
    Fresh,
}

#[derive(Debug)]
pub(super) struct StallWatch {
    state: State,
}

#[derive(Debug)]
enum State {
    Watching {
        recent: [Duration; WINDOW],
        seen: usize,
    },
    Trying {
        slow: Duration,
        fresh: Vec<Duration>,
    },
    Resting {
        answers_left: u32,
    },
    Stalled,
}

impl StallWatch {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Watching {
                recent: [Duration::ZERO; WINDOW],
                seen: 0,
            },
        }
    }

    pub(super) fn route(&self) -> Route {
        match self.state {
            State::Watching { .. } | State::Resting { .. } => Route::Kept,
            State::Trying { .. } | State::Stalled => Route::Fresh,
        }
    }

    /// An answer came, so long after its request was sent by this route.
    pub(super) fn answered(&mut self, route: Route, took: Duration) {
        match (&mut self.state, route) {
            (State::Watching { recent, seen }, Route::Kept) => {
                recent[*seen % WINDOW] = took;
                *seen += 1;
                if *seen >= WINDOW
                    && recent
                        .iter()
                        .filter(|took| SIGNATURE.contains(*took))
                        .count()
                        >= SUSPICIOUS
                {
                    self.state = State::Trying {
                        slow: median(recent),
                        fresh: Vec::with_capacity(TRIAL),
                    };
                }
            }
            (State::Trying { slow, fresh }, Route::Fresh) => {
                fresh.push(took);
                if fresh.len() == TRIAL {
                    let stalled = median(fresh) * 2 < *slow;
                    self.state = if stalled {
                        State::Stalled
                    } else {
                        State::Resting { answers_left: REST }
                    };
                }
            }
            (State::Resting { answers_left: 0 }, Route::Kept) => *self = Self::new(),
            (State::Resting { answers_left }, Route::Kept) => *answers_left -= 1,
            // Sent by the other route before the state changed.
            _ => {}
        }
    }

    pub(super) fn is_stalled(&self) -> bool {
        matches!(self.state, State::Stalled)
    }
}

fn median(durations: &mut [Duration]) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn watch_a_server(kept: Duration, fresh: Duration, answers: usize) -> StallWatch {
        let mut watch = StallWatch::new();
        for _ in 0..answers {
            let route = watch.route();
            watch.answered(route, if route == Route::Kept { kept } else { fresh });
        }
        watch
    }

    #[test]
    fn a_server_that_stalls_on_kept_connections_gets_fresh_ones() {
        let watch = watch_a_server(ms(44), ms(1), WINDOW + TRIAL);
        assert!(watch.is_stalled());
        assert_eq!(watch.route(), Route::Fresh);
    }

    #[test]
    fn a_tool_that_takes_that_long_keeps_its_connections() {
        let watch = watch_a_server(ms(44), ms(43), WINDOW + TRIAL);
        assert!(!watch.is_stalled());
        assert_eq!(watch.route(), Route::Kept);
    }

    #[test]
    fn a_wrong_suspicion_is_not_raised_again_at_once() {
        let mut watch = watch_a_server(ms(44), ms(43), WINDOW + TRIAL);
        for _ in 0..REST {
            assert_eq!(watch.route(), Route::Kept);
            watch.answered(Route::Kept, ms(44));
        }
    }

    #[test]
    fn a_fast_server_is_never_suspected() {
        assert_eq!(watch_a_server(ms(1), ms(1), 10_000).route(), Route::Kept);
    }

    #[test]
    fn a_slow_server_is_never_suspected() {
        assert_eq!(
            watch_a_server(ms(120), ms(120), 10_000).route(),
            Route::Kept
        );
    }
}
