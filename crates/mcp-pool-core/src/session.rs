//! One live MCP session.

mod request;

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rmcp::{
    RoleClient, Service,
    model::{ClientRequest, ListToolsRequest, PingRequest},
    service::{PeerRequestOptions, RunningService, ServiceError},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::{Eviction, Place},
    connect::{Connected, SessionTasks},
    credentials::IssuedCredentials,
    deadline,
    error::Phase,
    exchange::{Defaults, Exchange},
    handler::{CallerHandler, Lent, SessionHandler},
    lifecycle::{CloseReason, Era, SessionId, SessionLifecycle, SessionState},
    process::ChildProcess,
    progress::{ProgressRoute, ProgressRoutes, ProgressSink},
    redact::Redactor,
    transport_report::TransportReport,
};

/// A live MCP session: a process and its pipes, or an HTTP endpoint with one identity, ready for calls.
///
/// Derefs to rmcp's [`RunningService`], so everything the plain client can do, a leased session can do.
pub struct Session {
    lifecycle: SessionLifecycle,
    era: Era,
    opened_at: Instant,
    service: RunningService<RoleClient, SessionHandler>,
    /// Cancelled when the transport has been given up, for whatever reason.
    ended: CancellationToken,
    report: Arc<TransportReport>,
    redactor: Redactor,
    progress: ProgressRoutes,
    process: Option<ChildProcess>,
    /// What it goes by with the server, if that can change.
    issued: Option<IssuedCredentials>,
    /// Fields of `_meta` in every raw request.
    defaults: Defaults,
    calls: AtomicU64,
    /// Requests that had been answered when the session was ready.
    answered_in_opening: u64,
    /// Requests by then that may have left state.
    calls_in_opening: u64,
    /// A call has run out of time, and nothing was answered since.
    timed_out: AtomicBool,
    /// BudgetHold while the session is asked for a sign of life.
    probing: tokio::sync::Mutex<()>,
    /// Milliseconds from `opened_at` to the last lease's return and to the last reply.
    last_used: AtomicU64,
    last_answer: AtomicU64,
    /// This session's share of the jitter in `max_session_age`, from 0 to 1.
    jitter: f64,
    /// Why it is to be closed, once that is decided.
    dismissal: OnceLock<CloseReason>,
    session_tasks: SessionTasks,
    held: Mutex<BudgetHold>,
    /// Cancelled when the last reference is gone or the burial is done.
    closed: CancellationToken,
}

impl Session {
    pub(crate) fn new(
        lifecycle: SessionLifecycle,
        connected: Connected,
        redactor: Redactor,
    ) -> Self {
        let Connected {
            service,
            era,
            ended,
            report,
            progress,
            session_tasks,
            process,
            issued,
        } = connected;
        let defaults = Defaults::new(
            service.peer_info().as_deref(),
            &service.service().get_info(),
        );
        let exchange = report.exchange();
        let (answered, calls) = (exchange.answered(), exchange.calls());
        lifecycle.advance(SessionState::Ready);
        Self {
            lifecycle,
            era,
            opened_at: Instant::now(),
            service,
            ended,
            report,
            redactor,
            progress,
            process,
            issued,
            answered_in_opening: answered,
            calls_in_opening: calls,
            defaults,
            calls: AtomicU64::new(0),
            timed_out: AtomicBool::new(false),
            probing: tokio::sync::Mutex::default(),
            last_used: AtomicU64::new(0),
            last_answer: AtomicU64::new(0),
            jitter: fastrand::f64(),
            dismissal: OnceLock::new(),
            session_tasks,
            held: Mutex::default(),
            closed: CancellationToken::new(),
        }
    }

    /// The session's name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.lifecycle.id()
    }

    /// The session's life, to watch or to end.
    #[must_use]
    pub fn lifecycle(&self) -> &SessionLifecycle {
        &self.lifecycle
    }

    /// The way in which this session speaks MCP.
    #[must_use]
    pub fn era(&self) -> Era {
        self.era
    }

    /// Time since the session became ready.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.opened_at.elapsed()
    }

    /// Calls that were made on the session, successful or not.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Lines on the server's stdout that were no messages.
    #[must_use]
    pub fn noise_lines(&self) -> u64 {
        self.report.noise.load(Ordering::Relaxed)
    }

    /// The process that serves the session, if there is one of ours.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(ChildProcess::pid)
    }

    /// The last lines that the server wrote to stderr, oldest first; at most 50.
    #[must_use]
    pub fn stderr_tail(&self) -> Vec<String> {
        self.process
            .as_ref()
            .map(ChildProcess::stderr_tail)
            .unwrap_or_default()
    }

    /// Whether the transport or the process has ended. Such a session is never leased.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled() || self.service.is_transport_closed()
    }

    /// Waits until the transport or the process has ended.
    pub(crate) async fn wait_ended(&self) {
        match &self.process {
            Some(process) => tokio::select! {
                () = self.ended.cancelled() => {}
                () = process.wait_exit() => {}
            },
            None => self.ended.cancelled().await,
        }
    }

    /// Runs a request on this session, at the longest until shortly after its end.
    ///
    /// One that enters rmcp's queue in the very moment in which its loop ends stays there without an answer.
    ///
    /// # Errors
    /// Those of the request, and [`ServiceError::TransportClosed`].
    ///
    /// # Cancel safety
    /// As the request.
    pub async fn while_it_lives<T>(
        &self,
        request: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, ServiceError> {
        /// The loop itself notifies those that it knows.
        const MOMENT: Duration = Duration::from_millis(100);
        let ended = async {
            self.ended.cancelled().await;
            sleep(MOMENT).await;
        };
        tokio::select! {
            biased;
            outcome = request => outcome,
            () = ended => Err(ServiceError::TransportClosed),
        }
    }

    /// What ended the session, in words, as far as it is known: a fault of the transport, or the process's exit.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn cause_of_end(&self) -> String {
        self.redactor.sanitize(&self.cause_in_full().await)
    }

    async fn cause_in_full(&self) -> String {
        // The end of stdout and the exit of the process are seen by different tasks, in either order.
        const EXIT_FOLLOWS_WITHIN: Duration = Duration::from_millis(50);
        if let Some(fault) = self.report.fault.get() {
            return fault.clone();
        }
        let Some(process) = &self.process else {
            return "the server ended the connection".into();
        };
        let _ = timeout(EXIT_FOLLOWS_WITHIN, process.wait_exit()).await;
        match process.exit_status() {
            Some(status) => process.describe_exit(status),
            None => "the server closed its stdout while its process lives on".into(),
        }
    }

    /// Asks for a sign of life. Any reply will do, an error too: only silence or a broken transport means dead.
    ///
    /// # Cancel safety
    /// May be dropped at any point; the server is not notified, probes cost it nothing.
    pub async fn probe(&self, within: Duration) -> Result<Duration, Phase> {
        let began = Instant::now();
        let request = match self.era {
            Era::Legacy => ClientRequest::PingRequest(PingRequest::default()),
            // Not through `list_tools`: that answers from rmcp's cache. Not `discover`: on HTTP it is a barrier.
            Era::Modern => ClientRequest::ListToolsRequest(ListToolsRequest::default()),
        };
        let reply = async {
            let handle = self
                .service
                .send_cancellable_request(request, PeerRequestOptions::no_options())
                .await?;
            handle.await_response().await
        };
        match timeout(within, reply).await {
            Ok(Ok(_) | Err(ServiceError::McpError(_) | ServiceError::UnexpectedResponse)) => {
                self.answered();
                Ok(began.elapsed())
            }
            Ok(Err(_)) | Err(_) => Err(Phase::Probe),
        }
    }

    /// The right to probe the session. `None` while another probe is under way.
    pub(crate) fn begin_probe(&self) -> Option<Probing<'_>> {
        self.probing.try_lock().ok()
    }

    /// The right to probe the session, once no other probe is under way.
    pub(crate) async fn next_probe(&self) -> Probing<'_> {
        self.probing.lock().await
    }

    /// Has the progress of a request delivered to `sink`, until the returned route is dropped. The request has to be sent
    /// on this session afterwards.
    pub fn on_progress(&self, request: &mut ClientRequest, sink: ProgressSink) -> ProgressRoute {
        self.progress.attach(request, sink)
    }

    /// Has a caller answer the server's requests, until the returned guard is dropped. Only sensible on a session
    /// that is leased to this caller alone.
    ///
    /// The handler is given the server's notifications one after the other, in the order in which they were sent. After
    /// the reply to a call, [`Lent::flush`] waits for those that came before it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn lend_handler(&self, caller: CallerHandler) -> Lent {
        self.service.service().lend(caller)
    }

    /// Notes that a call began.
    pub(crate) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the server answered a call or a probe.
    pub(crate) fn answered(&self) {
        self.timed_out.store(false, Ordering::Relaxed);
        self.last_answer.store(self.now(), Ordering::Relaxed);
        if let Some(issued) = &self.issued {
            issued.prove();
        }
    }

    #[cfg(feature = "http")]
    pub(crate) fn credentials(&self) -> Option<&IssuedCredentials> {
        self.issued.as_ref()
    }

    /// Whether the server has refused the credentials of this session with a 401, here or on another session, and
    /// there is a [source](crate::source) to ask for others. Such a session is not leased any more.
    #[must_use]
    pub fn credentials_are_stale(&self) -> bool {
        self.issued
            .as_ref()
            .is_some_and(IssuedCredentials::is_refused)
    }

    /// Notes that a call ran out of time.
    pub(crate) fn timed_out(&self) {
        self.timed_out.store(true, Ordering::Relaxed);
    }

    /// Whether a call has run out of time since the server last answered anything.
    pub(crate) fn has_timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }

    /// Whether the server has answered anything since the session was ready.
    pub(crate) fn has_served(&self) -> bool {
        self.exchange().answered() > self.answered_in_opening
    }

    /// Whether anything was asked of the server that may have left state there: a call of a tool, for one, and not a list.
    #[must_use]
    pub fn may_hold_state(&self) -> bool {
        self.exchange().calls() > self.calls_in_opening
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        self.report.exchange()
    }

    /// Notes that the session has come to rest.
    pub(crate) fn used(&self) {
        self.last_used.store(self.now(), Ordering::Relaxed);
    }

    pub(crate) fn unused_for(&self) -> Duration {
        self.since(&self.last_used)
    }

    pub(crate) fn unanswered_for(&self) -> Duration {
        self.since(&self.last_answer)
    }

    /// How old the session may become: `limit` less up to a tenth.
    pub(crate) fn lifetime(&self, limit: Duration) -> Duration {
        limit.min(deadline::FAR).mul_f64(1.0 - self.jitter / 10.0)
    }

    /// Has the session closed. The first reason counts.
    pub(crate) fn dismiss(&self, reason: CloseReason) {
        let _ = self.dismissal.set(reason);
        self.session_tasks.dismissed.cancel();
    }

    /// Why the session is being closed, once that is decided.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.dismissal.get().copied()
    }

    /// Waits, a little, until those beside the session have taken their leave of the server.
    pub(crate) async fn end_tasks(&self, within: Duration) {
        self.session_tasks.dismissed.cancel();
        self.session_tasks.tasks.close();
        let _ = timeout(within, self.session_tasks.tasks.wait()).await;
    }

    pub(crate) async fn dismissed(&self) {
        self.session_tasks.dismissed.cancelled().await;
    }

    /// Waits until the session is closed: no connection and no process is left.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Holds a place of the budget until nothing is left of the session.
    pub(crate) fn hold_place(&self, place: Place) {
        self.held.lock().place = Some(place);
    }

    /// The session makes room for another pool's.
    pub(crate) fn make_room(&self, eviction: Eviction) {
        let mut held = self.held.lock();
        // Else the place has come back already.
        if held.place.is_some() {
            held.eviction = Some(eviction);
        }
    }

    pub(crate) fn mark_closed(&self) {
        drop(std::mem::take(&mut *self.held.lock()));
        self.closed.cancel();
    }

    pub(crate) fn process(&self) -> Option<&ChildProcess> {
        self.process.as_ref()
    }

    pub(crate) fn reinitializations(&self) -> u64 {
        *self.report.reinitialized.borrow()
    }

    /// Follows how often the server has forgotten the session.
    pub(crate) fn watch_reinitializations(&self) -> watch::Receiver<u64> {
        self.report.reinitialized.subscribe()
    }

    /// Ends the protocol side: the service loop stops, which closes the pipes or deletes the HTTP session.
    pub(crate) fn end_service(&self) {
        self.exchange().close();
        self.service.cancellation_token().cancel();
    }

    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, moment: &AtomicU64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(moment.load(Ordering::Relaxed)))
    }
}

/// What a session holds of the budget. The place comes back first, so that no other session is closed for it.
#[derive(Default)]
struct BudgetHold {
    place: Option<Place>,
    eviction: Option<Eviction>,
}

/// BudgetHold while a session is probed.
pub(crate) type Probing<'a> = tokio::sync::MutexGuard<'a, ()>;

impl Deref for Session {
    type Target = RunningService<RoleClient, SessionHandler>;

    fn deref(&self) -> &Self::Target {
        &self.service
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("era", &self.era)
            .field("state", &self.lifecycle.state())
            .field("age", &self.age())
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
