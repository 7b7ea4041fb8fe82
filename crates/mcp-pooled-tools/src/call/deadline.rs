//! The limit on a call, outside everything else.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use mcp_pool_core::{CallerHandler, Deadline, Phase, ProgressSink};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    Call, RequestOptions,
    classify::Verdict,
    clock::{Answering, Clock},
};
use crate::{error::Error, reply::Reply, server::ServerPool};

/// Ends the attempts of a call when it is due or cancelled.
pub(super) async fn limit(
    call: &Call<'_>,
    pool: &ServerPool,
    attempts: impl Future<Output = Result<Reply, Error>>,
) -> Result<Reply, Error> {
    let ended = match call.deadline.within(attempts).await {
        Ok(outcome) => return outcome,
        Err(ended) => ended,
    };
    let progress = &call.progress;
    let phase = progress.phase().unwrap_or_else(|| pool.bottleneck());
    let error = call.interrupted(ended, phase);
    let alone = progress.is_direct() || progress.is_probe();
    progress.record(if phase == Phase::Call {
        Verdict::of(&error)
    } else {
        Verdict::without_session(&error, alone)
    });
    let unknown = progress.unknown.lock().take();
    let unknown = unknown.filter(|_| phase != Phase::Call);
    Err(unknown.unwrap_or(error))
}

impl Call<'_> {
    /// The error of a call that was ended from outside.
    pub(super) fn interrupted(&self, ended: Interrupted, phase: Phase) -> Error {
        match ended {
            Interrupted::OutOfTime => {
                let (passed, overdue) = (self.deadline.passed(), self.deadline.is_overdue());
                Error::timeout(self.server, &self.operation, phase, passed, overdue)
            }
            Interrupted::Cancelled => Error::cancelled(self.server, &self.operation, phase),
        }
    }
}

/// When a call has to be over: a time from its start, or from the progress it last made, and at the latest. The time of a
/// handler with a limit of its own is left out.
#[derive(Clone, Debug)]
pub(crate) struct CallDeadline {
    began: Instant,
    limit: Duration,
    /// The setting or option that the limit comes from.
    knob: &'static str,
    /// `call_timeout`, from which on it is the server that is slow.
    call_timeout: Duration,
    latest: Option<Latest>,
    /// When the limit last began.
    since: Since,
    resets_on_progress: bool,
    /// Of one answer of the handler.
    handler_limit: Option<Duration>,
    cancellation: Option<CancellationToken>,
}

/// The end that no progress moves.
#[derive(Clone, Copy, Debug)]
enum Latest {
    /// The caller's.
    At(Instant),
    /// As often as progress may extend the limit, and what the handler takes beside.
    Extended(Instant),
}

#[derive(Clone, Debug)]
enum Since {
    Start(Instant),
    Moving(Arc<Clock>),
}

/// Why a call was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    OutOfTime,
    Cancelled,
}

impl CallDeadline {
    /// How often progress may extend a call where nothing else bounds it.
    const EXTENSIONS: u32 = 10;

    pub(crate) fn start(limit: Duration) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            limit,
            knob: CALL_TIMEOUT,
            call_timeout: limit,
            latest: None,
            since: Since::Start(now),
            resets_on_progress: false,
            handler_limit: None,
            cancellation: None,
        }
    }

    /// A deadline as the options say; `call_timeout` where they say nothing.
    pub(crate) fn with(call_timeout: Duration, options: &RequestOptions) -> Self {
        let now = Instant::now();
        let (limit, knob) = match options.timeout {
            Some(limit) => (limit, "RequestOptions::timeout"),
            None => (call_timeout, CALL_TIMEOUT),
        };
        let latest = match options.max_total {
            Some(total) => now.checked_add(total).map(Latest::At),
            None if options.reset_on_progress => {
                let total = limit.saturating_mul(Self::EXTENSIONS);
                now.checked_add(total).map(Latest::Extended)
            }
            None => None,
        };
        let moves = options.reset_on_progress || options.handler_limit.is_some();
        Self {
            began: now,
            limit,
            knob,
            call_timeout,
            latest,
            since: match moves {
                true => Since::Moving(Arc::new(Clock::start(now))),
                false => Since::Start(now),
            },
            resets_on_progress: options.reset_on_progress,
            handler_limit: options.handler_limit,
            cancellation: options.cancellation.clone(),
        }
    }

    /// When the call has to be over, as things stand.
    pub(crate) fn due(&self) -> Instant {
        let (due, latest) = self.limits();
        latest.map_or(due, |latest| due.min(latest))
    }

    /// The end of the limit, and the latest one. An answer that is under way counts as one that takes all of its time.
    fn limits(&self) -> (Instant, Option<Instant>) {
        /// The runtime's clock has no "never".
        const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
        let (since, answered) = match &self.since {
            Since::Start(start) => (*start, Duration::ZERO),
            Since::Moving(clock) => clock.at_the_latest(self.handler_limit),
        };
        let latest = self.latest.map(|latest| match latest {
            Latest::At(latest) => latest,
            Latest::Extended(latest) => latest + answered,
        });
        (since + self.limit.min(FAR), latest)
    }

    /// How long the call may take in all.
    pub(crate) fn longest(&self) -> Duration {
        match self.latest {
            Some(Latest::At(latest) | Latest::Extended(latest)) => latest - self.began,
            None => self.limit,
        }
    }

    /// Whether the server has been silent for `call_timeout`. A caller's shorter limit says nothing about the server.
    pub(crate) fn is_overdue(&self) -> bool {
        let silent = match &self.since {
            Since::Start(start) => start.elapsed(),
            Since::Moving(clock) => clock.elapsed(),
        };
        silent >= self.call_timeout
    }

    /// When the call is due, for the pool that watches it.
    pub(crate) fn for_pool(&self) -> Deadline {
        match &self.since {
            Since::Start(_) => Some(self.due()).into(),
            Since::Moving(_) => {
                let deadline = self.clone();
                Deadline::moving(move || deadline.due())
            }
        }
    }

    /// How long a call that has its result may wait for its handler to take the last notifications.
    pub(crate) fn time_for_notifications(&self) -> Duration {
        const MOST: Duration = Duration::from_secs(5);
        let left = self.due().saturating_duration_since(Instant::now());
        // A handler that hangs must not cost the result.
        (left / 2).min(MOST)
    }

    /// Whether the call should have been over by now.
    pub(crate) fn is_over(&self) -> bool {
        self.due() <= Instant::now()
    }

    /// When the call began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// The limit that has passed once the call is out of time, with the knob that raises it.
    pub(crate) fn passed(&self) -> (Duration, &'static str) {
        let (due, latest) = self.limits();
        match latest {
            Some(latest) if latest <= due => {
                let total = latest.saturating_duration_since(self.began);
                let knob = match self.latest {
                    Some(Latest::At(_)) => "RequestOptions::max_total",
                    // So many times the limit.
                    _ => self.knob,
                };
                (total, knob)
            }
            _ => (self.limit, self.knob),
        }
    }

    /// A sink that restarts the limit, and passes progress on.
    pub(crate) fn sink(&self, options: &RequestOptions) -> Option<ProgressSink> {
        let forward = options.progress.clone();
        match &self.since {
            Since::Moving(clock) if self.resets_on_progress => {
                let clock = Arc::clone(clock);
                Some(Arc::new(move |progress| {
                    clock.restart();
                    if let Some(forward) = &forward {
                        forward(progress);
                    }
                }))
            }
            _ => forward,
        }
    }

    /// The handler, whose time does not count if it has a limit of its own.
    pub(crate) fn timed(&self, handler: &CallerHandler) -> CallerHandler {
        match (&self.since, self.handler_limit) {
            (Since::Moving(clock), Some(limit)) => {
                Arc::new(Answering::new(handler, Arc::clone(clock), limit))
            }
            _ => Arc::clone(handler),
        }
    }

    /// Runs the call until it is over, due or cancelled.
    pub(crate) async fn within<T>(&self, call: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mut call = pin!(call);
        match &self.cancellation {
            None => self.until_due(call).await,
            Some(token) => tokio::select! {
                biased;
                () = token.cancelled() => Err(Interrupted::Cancelled),
                outcome = self.until_due(call.as_mut()) => outcome,
            },
        }
    }

    async fn until_due<T>(
        &self,
        mut call: impl Future<Output = T> + Unpin,
    ) -> Result<T, Interrupted> {
        let Since::Moving(clock) = &self.since else {
            let outcome = timeout_at(self.due(), call).await;
            return outcome.map_err(|_| Interrupted::OutOfTime);
        };
        loop {
            tokio::select! {
                biased;
                outcome = &mut call => return Ok(outcome),
                () = clock.runs() => {}
                // Progress may have moved it meanwhile.
                () = sleep_until(self.due()) => if self.is_over() {
                    return Err(Interrupted::OutOfTime);
                }
            }
        }
    }
}

/// The setting of a server.
const CALL_TIMEOUT: &str = "call_timeout";

#[cfg(test)]
mod tests;
