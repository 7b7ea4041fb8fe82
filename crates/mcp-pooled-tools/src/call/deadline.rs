//! The limit on a call, outside everything else.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use mcp_pool_core::{Deadline, Phase, ProgressSink};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Call, RequestOptions, classify::Verdict};
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

/// When a call has to be over: a time from its start, or from the progress it last made, and at the latest.
#[derive(Clone, Debug)]
pub(crate) struct CallDeadline {
    began: Instant,
    limit: Duration,
    /// The setting or option that the limit comes from.
    knob: &'static str,
    /// `call_timeout`, from which on it is the server that is slow.
    call_timeout: Duration,
    latest: Option<Instant>,
    /// When the limit last began.
    since: Since,
    cancellation: Option<CancellationToken>,
}

#[derive(Clone, Debug)]
enum Since {
    Start(Instant),
    Progress(Arc<Mutex<Instant>>),
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
        let extendable = options
            .reset_on_progress
            .then(|| limit.saturating_mul(Self::EXTENSIONS));
        Self {
            began: now,
            limit,
            knob,
            call_timeout,
            latest: options
                .max_total
                .or(extendable)
                .and_then(|total| now.checked_add(total)),
            since: if options.reset_on_progress {
                Since::Progress(Arc::new(Mutex::new(now)))
            } else {
                Since::Start(now)
            },
            cancellation: options.cancellation.clone(),
        }
    }

    /// When the call has to be over, as things stand.
    pub(crate) fn due(&self) -> Instant {
        /// The runtime's clock has no "never".
        const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
        let due = self.since() + self.limit.min(FAR);
        self.latest.map_or(due, |latest| due.min(latest))
    }

    /// How long the call may take in all.
    pub(crate) fn longest(&self) -> Duration {
        let latest = self.latest.map(|latest| latest - self.began);
        latest.unwrap_or(self.limit)
    }

    /// When the limit last began: at the start of the call, or with its last progress.
    fn since(&self) -> Instant {
        match &self.since {
            Since::Start(start) => *start,
            Since::Progress(last) => *last.lock(),
        }
    }

    /// Whether the server has been silent for `call_timeout`. A caller's shorter limit says nothing about the server.
    pub(crate) fn is_overdue(&self) -> bool {
        self.since().elapsed() >= self.call_timeout
    }

    /// When the call is due, for the pool that watches it.
    pub(crate) fn for_pool(&self) -> Deadline {
        match &self.since {
            Since::Start(_) => Some(self.due()).into(),
            Since::Progress(_) => {
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
        match self.latest {
            Some(latest) if latest <= self.due() => {
                let total = latest.saturating_duration_since(self.began);
                (total, "RequestOptions::max_total")
            }
            _ => (self.limit, self.knob),
        }
    }

    /// A sink that restarts the limit, and passes progress on.
    pub(crate) fn sink(&self, options: &RequestOptions) -> Option<ProgressSink> {
        let forward = options.progress.clone();
        match &self.since {
            Since::Start(_) => forward,
            Since::Progress(last) => {
                let last = Arc::clone(last);
                Some(Arc::new(move |progress| {
                    *last.lock() = Instant::now();
                    if let Some(forward) = &forward {
                        forward(progress);
                    }
                }))
            }
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
        loop {
            match timeout_at(self.due(), &mut call).await {
                Ok(outcome) => return Ok(outcome),
                // Progress may have moved it meanwhile.
                Err(_) if !self.is_over() => {}
                Err(_) => return Err(Interrupted::OutOfTime),
            }
        }
    }
}

/// The setting of a server.
const CALL_TIMEOUT: &str = "call_timeout";

#[cfg(test)]
mod tests;
