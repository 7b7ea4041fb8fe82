//! Opening one session: its tries, the pauses between them, and its time limits.
//!
//! An opening belongs to the pool and not to the caller who waits for it: it runs in a task of the pool, goes on when
//! the caller gives up, and ends when the pool closes.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{
    Instrument, Span,
    dispatcher::with_default,
    field::{Empty, display},
};

use crate::{
    backoff::doubled_with_jitter,
    budget::{Budget, Member, Turn},
    connect::{Connected, Connector, Handshake},
    deadline,
    error::{OpenError, OpenErrorKind, Phase},
    lifecycle::{Lifecycle, SessionState},
    options::PoolOptions,
    session::Session,
};

/// How sessions of a pool are opened.
pub(crate) struct Opening {
    pub(crate) server: Arc<str>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) handshake: Handshake,
    pub(crate) budget: Budget,
    pub(crate) closing: CancellationToken,
}

/// The pool of an opening, which is told how it goes.
pub(crate) trait Journal: Member {
    /// The settings in force.
    fn options(&self) -> Arc<PoolOptions>;
    fn began(&self, lifecycle: &Lifecycle);
    /// The callers who wait have no time left, and the opening goes on.
    fn overdue(&self, error: Arc<OpenError>);
    fn attempt_failed(&self, attempt: u32, error: &Arc<OpenError>);
    fn ended(&self, lifecycle: &Lifecycle);
    /// A server that has been reached before may be restarting: its 404 is not final.
    fn has_ever_opened(&self) -> bool;
}

impl Opening {
    /// Opens a session, with all its tries. They are traced under `cause`. Tries begin within `connection_timeout`; one
    /// that is under way by then goes on for up to [`PATIENCE`] times as long, so that a server that starts slowly is
    /// ready for the next caller.
    ///
    /// # Errors
    /// The cause, as soon as it is final.
    ///
    /// # Cancel safety
    /// If it is dropped, whatever has been started ends with it.
    pub(crate) async fn open(
        &self,
        pool: &impl Journal,
        cause: &Span,
    ) -> Result<Session, Arc<OpenError>> {
        let turn = self.turn(pool).await?;
        let entry = JournalEntry::new(pool);
        tokio::select! {
            biased;
            outcome = self.try_repeatedly(pool, &entry.lifecycle, turn, cause) => outcome,
            () = self.closing.cancelled() => Err(closing()),
        }
    }

    /// Completes when there are other credentials than those that the server refused.
    pub(crate) async fn credentials_changed(&self) {
        self.connector.credentials_changed().await;
    }

    /// Waits for leave to start a server, until the pool closes.
    async fn turn(&self, pool: &impl Journal) -> Result<Turn, Arc<OpenError>> {
        let turn = self.budget.turn(pool);
        let turn = self.closing.run_until_cancelled(turn).await;
        turn.ok_or_else(closing)
    }

    async fn try_repeatedly(
        &self,
        pool: &impl Journal,
        lifecycle: &Lifecycle,
        first: Turn,
        cause: &Span,
    ) -> Result<Session, Arc<OpenError>> {
        let options = pool.options();
        let mut limits = Limits::from_now(options.connection_timeout);
        let mut turn = Some(first);
        let mut may_start_over = true;
        let mut handshake = self.handshake.for_opening(options.connection_timeout);
        let redactor = self.handshake.redactor();
        for attempt in 1.. {
            let turn = match turn.take() {
                Some(turn) => turn,
                None => {
                    let began = Instant::now();
                    let turn = self.turn(pool).await?;
                    // The time in line is not the server's.
                    limits.postpone(began.elapsed());
                    turn
                }
            };
            let span = self.span(lifecycle, attempt, cause);
            handshake = handshake.for_next_try();
            let trying = self.try_once(pool, turn, &handshake, &mut limits, &mut may_start_over);
            let error = match trying.instrument(span.clone()).await {
                Ok(connected) => {
                    span.record("era", display(connected.era));
                    return Ok(Session::new(lifecycle.clone(), connected, redactor.clone()));
                }
                Err(error) => error,
            };
            span.record("error.type", display(error.kind()));
            span.record("otel.status_code", "ERROR");
            drop(span);
            let error = Arc::new(error.redacted(redactor));
            pool.attempt_failed(attempt, &error);
            let pause =
                doubled_with_jitter(options.retry_delay, attempt - 1, options.connection_timeout);
            if is_final(pool, &error)
                || attempt > options.retry_attempts
                || deadline::after(pause) >= limits.callers
            {
                return Err(error);
            }
            sleep(pause).await;
        }
        unreachable!("the loop ends by returning")
    }

    /// Of one try. It is a child of what waits for it, and may outlive that.
    fn span(&self, lifecycle: &Lifecycle, attempt: u32, cause: &Span) -> Span {
        let span = || {
            tracing::info_span!(
                parent: cause,
                "mcp.open",
                server = %self.server,
                session = %lifecycle.id(),
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
    /// on processes that start at once: a server that hangs holds up nobody else's.
    async fn try_once(
        &self,
        pool: &impl Journal,
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
                    let still = "the server is still starting; raise connection_timeout if it needs longer";
                    let error = too_late(still.into(), handshake);
                    pool.overdue(Arc::new(error.redacted(handshake.redactor())));
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
            let error = match self.connector.connect(&handshake).await {
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
            tracing::debug!(server = %self.server, "the handshake failed, trying another: {error}");
            first = Some(error);
        }
        unreachable!("the loop ends by returning")
    }
}

/// A server that was reached before may be restarting: its 404 is not final.
fn is_final(pool: &impl Journal, error: &OpenError) -> bool {
    let restarting = error.kind() == OpenErrorKind::Http(404) && pool.has_ever_opened();
    error.is_permanent() && !restarting
}

/// An opening in the journal, removed from it however it ends: the connector may panic.
struct JournalEntry<'a, P: Journal> {
    pool: &'a P,
    lifecycle: Lifecycle,
}

impl<'a, P: Journal> JournalEntry<'a, P> {
    fn new(pool: &'a P) -> Self {
        let lifecycle = Lifecycle::begin();
        pool.began(&lifecycle);
        Self { pool, lifecycle }
    }
}

impl<P: Journal> Drop for JournalEntry<'_, P> {
    fn drop(&mut self) {
        if self.lifecycle.state() == SessionState::Initializing {
            self.lifecycle.advance(SessionState::Error);
        }
        self.pool.ended(&self.lifecycle);
    }
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

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}
