//! The places of a pool, and the opening of a session in one of them: all that touches bb8.
//!
//! A place is one bb8 checkout, held from the decision to open until the session is dead. bb8 bounds their number,
//! opens in tasks of its own, so that a caller who goes away wastes no half-open session, and takes the place back.
//! Sessions never rest in bb8's own queue: the router keeps them, idle or not, so there is one source of truth, and
//! a call that meets a live session does not pass here at all. That a session comes back only to die is said by
//! `has_broken`, which is always true.
//!
//! What bb8 0.9 does not do, and how it is done here (measured, see `docs/libraries.md`): it sets no limit on
//! `connect`, leaks the place if that panics, and keeps the cause of a failure from the caller, who waits out its
//! timeout. So `connect` cannot fail: it runs the opening in a task with a deadline and yields the *outcome*, which
//! reaches the caller like any connection, cause and all.

use std::{
    convert::Infallible,
    fmt,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use bb8::{ManageConnection, PooledConnection, QueueStrategy, RunError};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{
    Instrument, Span,
    dispatcher::with_default,
    field::{Empty, display},
};

use crate::{
    backoff::doubled_with_jitter,
    budget::{Budget, Member, Turn},
    causes::Causes,
    connect::{Connected, Connector, Handshake},
    deadline,
    error::{OpenError, OpenErrorKind, Phase},
    lifecycle::{Lifecycle, SessionState},
    options::PoolOptions,
    session::Session,
};

/// How an opening is done. Cloned into every bb8 pool.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(crate) server: Arc<str>,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) handshake: Handshake,
    pub(crate) options: Arc<Mutex<Arc<PoolOptions>>>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) budget: Budget,
    pub(crate) member: Weak<dyn Member>,
    pub(crate) closing: CancellationToken,
    pub(crate) causes: Causes,
}

/// Told how openings go while they go.
pub(crate) trait Journal: Send + Sync {
    fn began(&self, lifecycle: &Lifecycle);
    /// The callers who wait have no time left, and the opening goes on.
    fn overdue(&self, error: Arc<OpenError>);
    fn attempt_failed(&self, attempt: u32, error: &Arc<OpenError>);
    fn ended(&self, lifecycle: &Lifecycle);
    /// A server that has been reached before may be restarting: its 404 is not final.
    fn has_ever_opened(&self) -> bool;
}

/// What bb8 calls a connection: the outcome of one opening, until it is taken out.
pub(crate) struct Outcome(Option<Result<Session, Arc<OpenError>>>);

/// A place taken. Dropping it frees it.
pub(crate) struct Slot {
    _place: PooledConnection<'static, Opening>,
}

pub(crate) struct Slots {
    opening: Opening,
    /// Replaced when the size changes, which bb8 cannot. Places of the old one stay with it until they are free.
    pool: Mutex<(u32, bb8::Pool<Opening>)>,
}

impl Slots {
    pub(crate) fn new(opening: Opening, size: u32) -> Self {
        let pool = Mutex::new((size, build(&opening, size)));
        Self { opening, pool }
    }

    pub(crate) fn resize(&self, size: u32) {
        let mut pool = self.pool.lock();
        if pool.0 != size {
            *pool = (size, build(&self.opening, size));
        }
    }

    /// Forgets openings that were dropped with their runtime: bb8 would count them for ever.
    pub(crate) fn renew(&self) {
        let mut pool = self.pool.lock();
        pool.1 = build(&self.opening, pool.0);
    }

    /// Completes when there are other credentials than those that the server refused.
    pub(crate) async fn credentials_changed(&self) {
        self.opening.connector.credentials_changed().await;
    }

    /// Opens a session, with all its tries. They are traced under `cause`. Tries begin within `connection_timeout`; one
    /// that is under way by then goes on for up to [`PATIENCE`] times as long, so that a server that starts slowly is
    /// ready for the next caller.
    ///
    /// It goes on until it has an outcome, also while the pool closes, which ends every opening soon: an outcome that
    /// is not taken out of bb8 would leave its session alive.
    ///
    /// # Errors
    /// The cause, as soon as it is final.
    pub(crate) async fn open(&self, cause: Span) -> Result<(Session, Slot), Arc<OpenError>> {
        let _in_line = self.opening.causes.join(cause);
        let pool = self.pool.lock().1.clone();
        let mut slot = loop {
            match pool.get_owned().await {
                Ok(slot) => break slot,
                // A wake-up may be lost between two openings at once: look again.
                Err(RunError::TimedOut) => {}
                Err(RunError::User(never)) => match never {},
            }
        };
        match slot.0.take() {
            Some(Ok(session)) => Ok((session, Slot { _place: slot })),
            Some(Err(error)) => Err(error),
            None => Err(Arc::new(internal("an outcome was handed out twice"))),
        }
    }
}

fn build(opening: &Opening, size: u32) -> bb8::Pool<Opening> {
    /// Only how often [`Slots::open`] looks again; the real limit is inside `connect`.
    const LOOK_AGAIN: Duration = Duration::from_millis(500);
    bb8::Pool::builder()
        .max_size(size)
        .min_idle(None)
        .test_on_check_out(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .retry_connection(false)
        .queue_strategy(QueueStrategy::Lifo)
        .connection_timeout(LOOK_AGAIN)
        .build_unchecked(opening.clone())
}

impl ManageConnection for Opening {
    type Connection = Outcome;
    type Error = Infallible;

    async fn connect(&self) -> Result<Outcome, Infallible> {
        let opening = self.clone();
        #[allow(
            clippy::disallowed_methods,
            reason = "aborted when bb8 gives the opening up"
        )]
        let task = AbortOnDropHandle::new(tokio::spawn(async move { opening.open().await }));
        let outcome = task.await.unwrap_or_else(|error| {
            let cause = if error.is_panic() {
                "the connector panicked"
            } else {
                "the runtime is shutting down"
            };
            Err(Arc::new(internal(cause)))
        });
        Ok(Outcome(Some(outcome)))
    }

    async fn is_valid(&self, _: &mut Outcome) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Outcome) -> bool {
        true
    }
}

impl Opening {
    async fn open(&self) -> Result<Session, Arc<OpenError>> {
        let cause = self.causes.next();
        let turn = self.turn().await?;
        let entry = Entered::new(&*self.journal);
        tokio::select! {
            outcome = self.try_repeatedly(&entry.lifecycle, turn, &cause) => outcome,
            () = self.closing.cancelled() => Err(Arc::new(internal(CLOSING))),
        }
    }

    /// Waits for leave to start a server, until the pool closes.
    async fn turn(&self) -> Result<Turn, Arc<OpenError>> {
        let closing = || Arc::new(internal(CLOSING));
        let member = self.member.upgrade().ok_or_else(closing)?;
        let turn = self.budget.turn(&*member);
        let turn = self.closing.run_until_cancelled(turn).await;
        turn.ok_or_else(closing)
    }

    async fn try_repeatedly(
        &self,
        lifecycle: &Lifecycle,
        first: Turn,
        cause: &Span,
    ) -> Result<Session, Arc<OpenError>> {
        let options = Arc::clone(&self.options.lock());
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
                    let turn = self.turn().await?;
                    // The time in line is not the server's.
                    limits.postpone(began.elapsed());
                    turn
                }
            };
            let span = self.span(lifecycle, attempt, cause);
            handshake = handshake.for_next_try();
            let trying = self.try_once(turn, &handshake, &mut limits, &mut may_start_over);
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
            self.journal.attempt_failed(attempt, &error);
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
                    self.journal.overdue(Arc::new(error.redacted(handshake.redactor())));
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

    fn is_final(&self, error: &OpenError) -> bool {
        let restarting = error.kind() == OpenErrorKind::Http(404) && self.journal.has_ever_opened();
        error.is_permanent() && !restarting
    }
}

/// An opening in the journal. Crossed out when it ends, however it ends: the connector may panic.
struct Entered<'a> {
    journal: &'a dyn Journal,
    lifecycle: Lifecycle,
}

impl<'a> Entered<'a> {
    fn new(journal: &'a dyn Journal) -> Self {
        let lifecycle = Lifecycle::begin();
        journal.began(&lifecycle);
        Self { journal, lifecycle }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if self.lifecycle.state() == SessionState::Initializing {
            self.lifecycle.advance(SessionState::Error);
        }
        self.journal.ended(&self.lifecycle);
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

fn internal(message: &str) -> OpenError {
    OpenError::new(OpenErrorKind::Internal, Phase::Open, message)
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("size", &self.pool.lock().0)
            .finish_non_exhaustive()
    }
}

const CLOSING: &str = "the pool is being closed";
