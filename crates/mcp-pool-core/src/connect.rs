//! Opening one session: reach the server, shake hands.

mod attempt;
mod era;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "in-process")]
pub mod in_process;
mod inbound;
pub mod lines;
mod negotiate;
mod reply;
pub mod stdio;

use std::{fmt, future::Future, panic::resume_unwind, sync::Arc, time::Duration};

pub use crate::future::BoxFuture;
use attempt::Attempt;
use era::Forgetting;
pub use era::{EraMemory, LifecycleMode};
use inbound::{Hearers, Inbound};
use negotiate::{Disagreement, Offer, Pipelining, negotiate};
use rmcp::{
    RoleClient, Service,
    model::ProtocolVersion,
    service::{ClientCacheConfig, Peer, RunningService, serve_directly},
    transport::Transport,
};
use tokio::sync::watch;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use crate::{
    credentials::IssuedCredentials,
    error::{OpenError, OpenErrorKind, Phase},
    handler::{ServerListener, SessionHandler, client_info},
    lifecycle::Era,
    process::{ChildProcess, StderrLines},
    progress::ProgressRoutes,
    redact::Redactor,
    transport_report::TransportReport,
};

/// Opens sessions to one server, with one identity.
///
/// The pool calls it in a task of its own, under a deadline, and drops the future when the deadline passes: whatever
/// was started by then must end with it.
pub trait Connector: Send + Sync + 'static {
    /// Reaches the server and shakes hands with it, by [`Handshake::perform`].
    ///
    /// # Errors
    /// Whatever kept the session from opening. [`OpenError::is_permanent`] decides whether the pool tries again.
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>>;

    /// Completes when there are other credentials than those that the server refused. The pool waits for it while it backs
    /// off after a refusal, and then opens sessions at once. Default: never.
    ///
    /// # Cancel safety
    /// The pool drops the future when the pause is over.
    fn credentials_changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

impl<C: Connector + ?Sized> Connector for Arc<C> {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        (**self).connect(handshake)
    }

    fn credentials_changed(&self) -> BoxFuture<'_, ()> {
        (**self).credentials_changed()
    }
}

/// How sessions introduce themselves to a server.
#[derive(Clone)]
pub struct Handshake {
    mode: LifecycleMode,
    version: Option<ProtocolVersion>,
    era: EraMemory,
    handler: SessionHandler,
    listener: Option<Arc<dyn ServerListener>>,
    tasks: TaskTracker,
    redactor: Redactor,
    /// The server's name in the log.
    server: Arc<str>,
    probe_wait: Duration,
    attempt: Arc<Attempt>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("mode", &self.mode)
            .field("version", &self.version)
            .field("era", &self.era)
            .field("handler", &self.handler)
            .finish_non_exhaustive()
    }
}

impl Handshake {
    /// A handshake in the given mode. `era` may be shared by all pools of one server.
    #[must_use]
    pub fn new(mode: LifecycleMode, era: EraMemory, handler: SessionHandler) -> Self {
        Self {
            mode,
            version: None,
            era,
            handler,
            listener: None,
            tasks: TaskTracker::new(),
            redactor: Redactor::default(),
            server: "".into(),
            probe_wait: LONGEST_PROBE_WAIT,
            attempt: Arc::default(),
        }
    }

    /// Offers this version of the protocol, by the handshake that it has, whatever the mode. By default the newest
    /// version of each handshake is offered.
    #[must_use]
    pub fn protocol_version(mut self, version: ProtocolVersion) -> Self {
        self.mode = match version.has_initialize() {
            true => LifecycleMode::Initialize,
            false => LifecycleMode::Discover,
        };
        self.version = Some(version);
        self
    }

    /// The same handshake in the pool of `server`, which waits for `tasks` when it is closed.
    pub(crate) fn in_pool(
        mut self,
        server: Arc<str>,
        tasks: TaskTracker,
        redactor: Redactor,
    ) -> Self {
        self.server = server;
        self.tasks = tasks;
        self.redactor = redactor;
        self
    }

    /// The same handshake for one opening, on behalf of callers who wait for at most `connection_timeout`.
    pub(crate) fn for_opening(&self, connection_timeout: Duration) -> Self {
        Self {
            probe_wait: (connection_timeout / 10).min(LONGEST_PROBE_WAIT),
            attempt: Arc::default(),
            ..self.clone()
        }
    }

    /// The same handshake for the next try of an opening.
    pub(crate) fn for_next_try(&self) -> Self {
        Self {
            attempt: Arc::new(self.attempt.next()),
            ..self.clone()
        }
    }

    /// The same try on a fresh connection, if it failed for the handshake that it began with.
    pub(crate) fn starting_over(&self, error: &OpenError) -> Option<Self> {
        let of_the_handshake = matches!(
            error.kind(),
            OpenErrorKind::Handshake
                | OpenErrorKind::Incompatible
                | OpenErrorKind::NoCommonVersion
                | OpenErrorKind::ProcessExited
                | OpenErrorKind::Http(500..)
        );
        let mode = self.attempt.start_over().filter(|_| of_the_handshake)?;
        Some(Self {
            mode,
            ..self.clone()
        })
    }

    /// Keeps the stderr of a process that was started, for when the try is given up.
    pub(crate) fn set_stderr(&self, stderr: &StderrLines) {
        self.attempt.set_stderr(stderr);
    }

    /// The last lines on the stderr of the process that was started last, if one was.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.attempt.stderr()
    }

    /// The server, not the client, ended the connection of this try.
    pub(crate) fn was_disconnected(&self) -> bool {
        self.attempt.was_disconnected()
    }

    /// Where connectors keep what has to end before the pool has.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// What takes secrets out of what a server says.
    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Passes every notification of the server to `listener`.
    #[must_use]
    pub fn listener(mut self, listener: Arc<dyn ServerListener>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Shakes hands over a fresh transport.
    ///
    /// # Errors
    /// [`OpenErrorKind::NoCommonVersion`], [`OpenErrorKind::Handshake`], or what the transport says.
    ///
    /// # Cancel safety
    /// Dropping the future has the transport dropped at once, by the runtime.
    pub async fn perform<T>(
        &self,
        transport: T,
        report: Arc<TransportReport>,
    ) -> Result<Connected, OpenError>
    where
        T: Transport<RoleClient> + 'static,
    {
        self.perform_over(transport, report, Pipelining::Possible)
            .await
    }

    async fn perform_over<T>(
        &self,
        transport: T,
        report: Arc<TransportReport>,
        pipelining: Pipelining,
    ) -> Result<Connected, OpenError>
    where
        T: Transport<RoleClient> + 'static,
    {
        report.log_as(&self.server, &self.redactor);
        let ended = CancellationToken::new();
        let progress = ProgressRoutes::default();
        let handler = self.handler.for_session();
        let hearers = Hearers {
            handler: handler.clone(),
            progress: progress.clone(),
            listener: self.listener.clone(),
        };
        let mut transport = Inbound::new(transport, hearers, Arc::clone(&report), ended.clone());
        let offer = self.offer();
        let probes = matches!(offer, Offer::Either { .. });
        // Until this has failed, others go by what is remembered.
        let forgetting = Forgetting::unless_kept(&self.era);
        let noted = Arc::clone(&report);
        let serving = outside_of_spans(async move {
            let client = handler.get_info();
            let agreed = negotiate(&mut transport, offer, client, pipelining).await?;
            noted.left_out(agreed.notes);
            let service = serve_directly(handler, transport, Some(agreed.server));
            Ok((service, agreed.era))
        });
        let (service, era) = serving.await?.map_err(|disagreement: Disagreement| {
            let Disagreement {
                error,
                start_over,
                disconnected,
            } = disagreement;
            let mode = if probes {
                start_over.then_some(LifecycleMode::Initialize)
            } else {
                // The server answered, but is not what it was.
                let forgotten = self.mode == LifecycleMode::Auto && !disconnected;
                forgotten.then_some(LifecycleMode::Auto)
            };
            self.attempt.failed(mode, disconnected);
            error
        })?;
        // It serves stale lists after the server has died, and is private to one session (facts: response cache).
        service
            .set_response_cache_config(ClientCacheConfig::disabled())
            .await;
        forgetting.keep(era);
        Ok(Connected {
            service,
            era,
            ended,
            report,
            progress,
            session_tasks: SessionTasks::default(),
            process: None,
            issued: None,
        })
    }

    fn offer(&self) -> Offer {
        let era = match self.mode {
            LifecycleMode::Auto => self.era.get(),
            LifecycleMode::Initialize => Some(Era::Legacy),
            LifecycleMode::Discover => Some(Era::Modern),
        };
        let newest = |version| self.version.clone().unwrap_or(version);
        let initialize = newest(ProtocolVersion::LATEST_WITH_INITIALIZE);
        let discover = newest(ProtocolVersion::LATEST);
        match era {
            None => Offer::Either {
                discover,
                initialize,
                wait: self.probe_wait,
            },
            Some(Era::Legacy) => Offer::Initialize(initialize),
            Some(Era::Modern) => Offer::Discover(discover),
        }
    }
}

/// A probe waits for a tenth of the time that callers have, and no longer than this, before `initialize` is offered too.
const LONGEST_PROBE_WAIT: Duration = Duration::from_secs(3);

impl Default for Handshake {
    /// Whichever way the server understands, as a plain client.
    fn default() -> Self {
        Self::new(
            LifecycleMode::Auto,
            EraMemory::default(),
            SessionHandler::new(client_info()),
        )
    }
}

/// A session fresh from its handshake.
#[derive(Debug)]
pub struct Connected {
    pub(crate) service: RunningService<RoleClient, SessionHandler>,
    pub(crate) era: Era,
    pub(crate) ended: CancellationToken,
    pub(crate) report: Arc<TransportReport>,
    pub(crate) progress: ProgressRoutes,
    pub(crate) session_tasks: SessionTasks,
    pub(crate) process: Option<ChildProcess>,
    pub(crate) issued: Option<IssuedCredentials>,
}

/// Tasks that live beside a session and have a last word when it closes.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionTasks {
    pub(crate) dismissed: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Connected {
    /// Runs a task beside the session. When the session is to be closed, or has ended, the token is cancelled; the
    /// task is given a moment to take its leave of the server.
    pub fn spawn_task<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let leave = self.session_tasks.dismissed.child_token();
        let (task, ended, also) = (task(leave.clone()), self.ended.clone(), leave);
        self.session_tasks.tasks.spawn(async move {
            let mut task = std::pin::pin!(task);
            tokio::select! {
                () = &mut task => return,
                () = ended.cancelled() => also.cancel(),
            }
            task.await;
        });
    }

    /// The way in which the server speaks MCP.
    #[must_use]
    pub fn era(&self) -> Era {
        self.era
    }

    /// Whether the session receives no notifications, as it changes. Over HTTP they need a stream, which not
    /// every server has.
    #[must_use]
    pub fn deaf(&self) -> watch::Receiver<bool> {
        self.report.deaf.subscribe()
    }

    /// The client's end of the session, for requests that come before all calls.
    #[must_use]
    pub fn peer(&self) -> &Peer<RoleClient> {
        self.service.peer()
    }

    pub(crate) fn with_process(mut self, process: ChildProcess) -> Self {
        self.process = Some(process);
        self
    }

    #[cfg(feature = "http")]
    pub(crate) fn with_credentials(mut self, issued: Option<IssuedCredentials>) -> Self {
        self.issued = issued;
        self
    }
}

/// rmcp's service loop goes on in the span in which it was started. In that of the opening it would hold that open for as
/// long as the session lives; a task of its own begins in none.
async fn outside_of_spans<F>(serving: F) -> Result<F::Output, OpenError>
where
    F: Future<Output: Send> + Send + 'static,
{
    #[allow(
        clippy::disallowed_methods,
        reason = "aborted when the handshake is given up"
    )]
    let task = AbortOnDropHandle::new(tokio::spawn(serving));
    task.await.map_err(|ended| match ended.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => {
            let message = "the runtime is shutting down";
            OpenError::new(OpenErrorKind::Internal, Phase::Handshake, message)
        }
    })
}
