//! One opening: its tries, the pauses between them, and its time limits.
//!
//! An opening belongs to the pool and not to the caller who waits for it: it runs in a task of the pool, goes on when
//! the caller gives up, and ends when the pool closes.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tracing::{
    Instrument, Span,
    dispatcher::with_default,
    field::{Empty, display},
};

use crate::{
    backoff::doubled_with_jitter,
    budget::Turn,
    connect::{Connected, Handshake},
    deadline,
    error::{OpenError, OpenErrorKind, Phase},
    event::PoolEvent,
    inner::Inner,
    lifecycle::{SessionLifecycle, SessionState},
    session::Session,
};

/// An opening under way. The pool lists it until it is dropped, as it is however it ends: the connector may panic.
pub(super) struct Opening<'a> {
    inner: &'a Inner,
    lifecycle: SessionLifecycle,
    /// What waits for it: its tries are traced under this.
    cause: &'a Span,
}

impl<'a> Opening<'a> {
    /// Opens a session, with all its tries. Tries begin within `connection_timeout`; one that is under way by then goes on
    /// for up to [`PATIENCE`] times as long, so that a server that starts slowly is ready for the next caller.
    ///
    /// # Errors
    /// The cause, as soon as it is final.
    ///
    /// # Cancel safety
    /// If it is dropped, whatever has been started ends with it.
    pub(super) async fn run(inner: &'a Inner, cause: &'a Span) -> Result<Session, Arc<OpenError>> {
        let turn = turn(inner).await?;
        let opening = Self::begin(inner, cause);
        tokio::select! {
            biased;
            outcome = opening.try_repeatedly(turn) => outcome,
            () = inner.closing.cancelled() => Err(closing()),
        }
    }

    fn begin(inner: &'a Inner, cause: &'a Span) -> Self {
        let lifecycle = SessionLifecycle::begin();
        inner.state.lock().initializing.push(lifecycle.clone());
        inner.emit(|| PoolEvent::Opening {
            session: lifecycle.id(),
        });
        Self {
            inner,
            lifecycle,
            cause,
        }
    }

    async fn try_repeatedly(&self, first: Turn) -> Result<Session, Arc<OpenError>> {
        let options = self.inner.options();
        let mut limits = Limits::from_now(options.connection_timeout);
        let mut turn_held = Some(first);
        let mut may_start_over = true;
        let handshake = &self.inner.handshake;
        let redactor = handshake.redactor();
        let mut handshake = handshake.for_opening(options.connection_timeout);
        for attempt in 1.. {
            let turn = match turn_held.take() {
                Some(turn) => turn,
                None => {
                    let began = Instant::now();
                    let turn = turn(self.inner).await?;
                    // The time in line is not the server's.
                    limits.postpone(began.elapsed());
                    turn
                }
            };
            let span = self.span(attempt);
            handshake = handshake.for_next_try();
            let trying = self.try_once(turn, &handshake, &mut limits, &mut may_start_over);
            let error = match trying.instrument(span.clone()).await {
                Ok(connected) => {
                    span.record("era", display(connected.era));
                    let lifecycle = self.lifecycle.clone();
                    return Ok(Session::new(lifecycle, connected, redactor.clone()));
                }
                Err(error) => error,
            };
            span.record("error.type", display(error.kind()));
            span.record("otel.status_code", "ERROR");
            drop(span);
            let error = Arc::new(error.redacted(redactor));
            self.attempt_failed(attempt, &error);
            let pause =
                doubled_with_jitter(options.retry_delay, attempt - 1, options.connection_timeout);
            if self.is_final(&error)
                || attempt > options.retry_attempts
                || deadline::after(pause) >= limits.callers
            {
                return Err(error);
            }
            sleep(pause).await;
        }
        unreachable!("the loop ends by returning")
    }

    fn attempt_failed(&self, attempt: u32, error: &Arc<OpenError>) {
        let inner = self.inner;
        tracing::debug!(server = %inner.name, attempt, "attempt to open a session failed: {error}");
        inner.state.lock().failure = Some(Arc::clone(error));
        inner.emit(|| PoolEvent::OpenAttemptFailed {
            attempt,
            error: Arc::clone(error),
        });
    }

    /// The callers who wait have no time left, and the opening goes on.
    fn overdue(&self, handshake: &Handshake) {
        let still = "the server is still starting; raise connection_timeout if it needs longer";
        let error = too_late(still.into(), handshake).redacted(handshake.redactor());
        tracing::debug!(server = %self.inner.name, "{error}");
        self.inner.state.lock().failure = Some(Arc::new(error));
    }

    /// A server that was reached before may be restarting: its 404 is not final.
    fn is_final(&self, error: &OpenError) -> bool {
        let restarting =
            error.kind() == OpenErrorKind::Http(404) && self.inner.state.lock().counts.opened > 0;
        error.is_permanent() && !restarting
    }

    /// The span of one try. It is a child of what waits for it, and may outlive that.
    fn span(&self, attempt: u32) -> Span {
        let cause = self.cause;
        let span = || {
            tracing::info_span!(
                parent: cause,
                "mcp.open",
                server = %self.inner.name,
                session = %self.lifecycle.id(),
                attempt,
                era = Empty,
                error.type = Empty,
                otel.status_code = Empty,
            )
        };
        // A span means nothing to any subscriber but its own, which need not be that of this task.
        let under = cause.with_subscriber(|(_, subscriber)| with_default(subscriber, span));
        under.unwrap_or_else(span)
    }

    /// One try, which has its turn among all pools for as long as a server that is well takes to start. The limit is
    /// on processes that start at once: a server that hangs delays no other.
    async fn try_once(
        &self,
        turn: Turn,
        handshake: &Handshake,
        limits: &mut Limits,
        may_start_over: &mut bool,
    ) -> Result<Connected, OpenError> {
        const TURN: Duration = Duration::from_secs(2);
        let mut connecting = pin!(self.connect(handshake, may_start_over));
        let mut turn = Some(turn);
        let turn_ends = deadline::after(TURN);
        loop {
            tokio::select! {
                biased;
                connected = &mut connecting => return connected,
                () = sleep_until(turn_ends), if turn.is_some() => turn = None,
                () = sleep_until(limits.callers), if !limits.overdue => {
                    limits.overdue = true;
                    self.overdue(handshake);
                }
                () = sleep_until(limits.last) => {
                    let message = format!(
                        "the server was not ready within {PATIENCE} times {:?} (connection_timeout)",
                        limits.connection_timeout
                    );
                    return Err(too_late(message, handshake));
                }
            }
        }
    }

    /// Connects, and again where another handshake may succeed.
    async fn connect(
        &self,
        handshake: &Handshake,
        may_start_over: &mut bool,
    ) -> Result<Connected, OpenError> {
        /// The remembered handshake, both, and `initialize` alone.
        const MOST: usize = 3;
        let mut handshake = handshake.clone();
        let mut first: Option<OpenError> = None;
        for connection in 1.. {
            let error = match self.inner.connector.connect(&handshake).await {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            let again = handshake.starting_over(&error);
            match again.filter(|_| *may_start_over && connection < MOST) {
                Some(again) => handshake = again,
                None => {
                    // The server fails either way: later tries need not start it so often.
                    *may_start_over &= first.is_none();
                    return Err(match &first {
                        Some(first) => error.after(first),
                        None => error,
                    });
                }
            }
            tracing::debug!(server = %self.inner.name, "the handshake failed, trying another: {error}");
            first = Some(error);
        }
        unreachable!("the loop ends by returning")
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if self.lifecycle.state() == SessionState::Initializing {
            self.lifecycle.advance(SessionState::Error);
        }
        let id = self.lifecycle.id();
        let mut state = self.inner.state.lock();
        state.initializing.retain(|other| other.id() != id);
    }
}

/// Waits for leave to start a server, until the pool closes.
async fn turn(inner: &Inner) -> Result<Turn, Arc<OpenError>> {
    let turn = inner.budget.turn(inner);
    let turn = inner.closing.run_until_cancelled(turn).await;
    turn.ok_or_else(closing)
}

/// How long an opening may take, in terms of the time that a caller has.
const PATIENCE: u32 = 4;

/// The limits of one opening.
struct Limits {
    connection_timeout: Duration,
    /// No try begins after this. It is a moment before those who wait give up, so that they can be given a reason:
    /// what the server says on stderr, above all.
    callers: Instant,
    /// The moment above has passed.
    overdue: bool,
    /// The opening ends.
    last: Instant,
}

impl Limits {
    fn from_now(connection_timeout: Duration) -> Self {
        const MOMENT: Duration = Duration::from_millis(50);
        let shortly_before = connection_timeout - MOMENT.min(connection_timeout / 20);
        Self {
            connection_timeout,
            callers: deadline::after(shortly_before),
            overdue: false,
            last: deadline::after(connection_timeout.saturating_mul(PATIENCE)),
        }
    }

    fn postpone(&mut self, by: Duration) {
        self.callers = deadline::later(self.callers, by);
        self.last = deadline::later(self.last, by);
    }
}

fn too_late(message: String, handshake: &Handshake) -> OpenError {
    OpenError::new(OpenErrorKind::Timeout, Phase::Handshake, message)
        .with_stderr(handshake.stderr())
}

fn closing() -> Arc<OpenError> {
    let message = "the pool is being closed";
    Arc::new(OpenError::new(
        OpenErrorKind::Internal,
        Phase::Open,
        message,
    ))
}
