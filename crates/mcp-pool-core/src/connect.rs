//! Opening one session: reach the server, shake hands.

pub(crate) mod decode;
mod guarded;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "in-process")]
pub mod in_process;
mod inbound;
pub mod lines;
pub mod stdio;

use std::{
    fmt,
    future::Future,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use guarded::Guarded;
use inbound::{Hearers, Inbound};
use rmcp::{
    RoleClient,
    model::ProtocolVersion,
    service::{
        ClientCacheConfig, ClientInitializeError, ClientLifecycleMode, ClientServiceExt, Peer,
        RunningService,
    },
    transport::Transport,
};
use tokio::sync::watch;
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use crate::{
    credentials::Worn,
    error::{OpenError, OpenErrorKind, Phase},
    handler::{ServerListener, SessionHandler, client_info},
    lifecycle::Era,
    process::{ChildProcess, StderrLines},
    progress::ProgressRoutes,
    redact::Redactor,
    session::Findings,
};

/// A future as a trait object can return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

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

/// Which handshake a server is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LifecycleMode {
    /// `server/discover`, and `initialize` if the server does not know that. What it knew is remembered.
    #[default]
    Auto,
    /// `initialize` only.
    Initialize,
    /// `server/discover` only.
    Discover,
}

/// The era in which a server was last met, so that only the first opening has to find out.
#[derive(Clone, Debug, Default)]
pub struct EraMemory(Arc<AtomicU8>);

impl EraMemory {
    const UNKNOWN: u8 = 0;
    const LEGACY: u8 = 1;
    const MODERN: u8 = 2;

    /// The era, if it is known.
    #[must_use]
    pub fn get(&self) -> Option<Era> {
        match self.0.load(Ordering::Relaxed) {
            Self::LEGACY => Some(Era::Legacy),
            Self::MODERN => Some(Era::Modern),
            _ => None,
        }
    }

    fn set(&self, era: Option<Era>) {
        let value = match era {
            None => Self::UNKNOWN,
            Some(Era::Legacy) => Self::LEGACY,
            Some(Era::Modern) => Self::MODERN,
        };
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Forgets the era when it is dropped.
struct Forgetting<'a>(Option<&'a EraMemory>);

impl Forgetting<'_> {
    fn keep(mut self, era: Era) {
        if let Some(memory) = self.0.take() {
            memory.set(Some(era));
        }
    }
}

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        if let Some(memory) = self.0 {
            memory.set(None);
        }
    }
}

/// How sessions introduce themselves to a server.
#[derive(Clone)]
pub struct Handshake {
    mode: LifecycleMode,
    era: EraMemory,
    handler: SessionHandler,
    listener: Option<Arc<dyn ServerListener>>,
    tasks: TaskTracker,
    redactor: Redactor,
    /// The server's name in the log.
    server: Arc<str>,
    /// What the process that was started says on stderr.
    stderr: Arc<OnceLock<StderrLines>>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("mode", &self.mode)
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
            era,
            handler,
            listener: None,
            tasks: TaskTracker::new(),
            redactor: Redactor::default(),
            server: "".into(),
            stderr: Arc::default(),
        }
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

    /// The same handshake for one try, of which more may be under way.
    pub(crate) fn for_one_try(&self) -> Self {
        Self {
            stderr: Arc::default(),
            ..self.clone()
        }
    }

    /// Remembers where a process that was started complains, for when the try is given up and all else is dropped.
    pub(crate) fn hear(&self, stderr: &StderrLines) {
        let _ = self.stderr.set(stderr.clone());
    }

    /// The last lines on the stderr of the process that was started, if one was.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr
            .get()
            .map(StderrLines::to_vec)
            .unwrap_or_default()
    }

    /// Where connectors keep what has to end before the pool has.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// What takes secrets out of what a server says.
    pub(crate) fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Has every notification of the server heard.
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
        findings: Arc<Findings>,
    ) -> Result<Connected, OpenError>
    where
        T: Transport<RoleClient> + 'static,
    {
        findings.log_as(&self.server, &self.redactor);
        let ended = CancellationToken::new();
        let progress = ProgressRoutes::default();
        let handler = self.handler.for_session();
        let hearers = Hearers {
            handler: handler.clone(),
            progress: progress.clone(),
            listener: self.listener.clone(),
        };
        let transport = Inbound::new(transport, hearers, Arc::clone(&findings), ended.clone());
        let transport = Guarded::new(transport, ended.clone().drop_guard());
        let lifecycle = self.lifecycle();
        // A server may have been exchanged for one of the other era: what is remembered is lost if this fails or is
        // given up. Until then others go by it.
        let forgetting = Forgetting(Some(&self.era));
        let serving = handler.serve_with_lifecycle(transport, lifecycle);
        let service = outside_of_spans(serving).await?.map_err(describe)?;
        // It serves stale lists after the server has died, and is private to one session (facts: response cache).
        service
            .set_response_cache_config(ClientCacheConfig::disabled())
            .await;
        let era = match service.peer_info() {
            Some(info) if !info.protocol_version.has_initialize() => Era::Modern,
            _ => Era::Legacy,
        };
        forgetting.keep(era);
        Ok(Connected {
            service,
            era,
            ended,
            findings,
            progress,
            companions: Companions::default(),
            process: None,
            worn: None,
        })
    }

    fn lifecycle(&self) -> ClientLifecycleMode {
        let era = match self.mode {
            LifecycleMode::Auto => self.era.get(),
            LifecycleMode::Initialize => Some(Era::Legacy),
            LifecycleMode::Discover => Some(Era::Modern),
        };
        let preferred_versions = vec![ProtocolVersion::LATEST];
        match era {
            None => ClientLifecycleMode::Auto {
                preferred_versions,
                legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
            },
            Some(Era::Legacy) => ClientLifecycleMode::Initialize,
            Some(Era::Modern) => ClientLifecycleMode::Discover { preferred_versions },
        }
    }
}

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
    pub(crate) findings: Arc<Findings>,
    pub(crate) progress: ProgressRoutes,
    pub(crate) companions: Companions,
    pub(crate) process: Option<ChildProcess>,
    pub(crate) worn: Option<Worn>,
}

/// Tasks that live beside a session and have a last word when it closes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Companions {
    pub(crate) dismissed: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Connected {
    /// Runs a task beside the session. When the session is to be closed, or has ended, the token is cancelled; the
    /// task is given a moment to take its leave of the server.
    pub fn accompany<F>(&self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let leave = self.companions.dismissed.child_token();
        let (task, ended, also) = (task(leave.clone()), self.ended.clone(), leave);
        self.companions.tasks.spawn(async move {
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

    /// Whether the session cannot hear what its server says unasked, as it changes: over HTTP that takes a stream which not
    /// every server has.
    #[must_use]
    pub fn deaf(&self) -> watch::Receiver<bool> {
        self.findings.deaf.subscribe()
    }

    /// The client's end of the session, for what has to be said before anybody uses it.
    #[must_use]
    pub fn peer(&self) -> &Peer<RoleClient> {
        self.service.peer()
    }

    pub(crate) fn with_process(mut self, process: ChildProcess) -> Self {
        self.process = Some(process);
        self
    }

    #[cfg(feature = "http")]
    pub(crate) fn with_credentials(mut self, worn: Option<Worn>) -> Self {
        self.worn = worn;
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

fn describe(error: ClientInitializeError) -> OpenError {
    let error = match error {
        // The later of the two says more: the server did understand `initialize`.
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => *fallback,
        other => other,
    };
    match error {
        ClientInitializeError::NoCompatibleProtocolVersion {
            client_supported,
            server_supported,
        } => {
            let list = |versions: Vec<ProtocolVersion>| {
                versions
                    .iter()
                    .map(ProtocolVersion::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let message = format!(
                "client and server share no protocol version: ours are {}, the server's are {}",
                list(client_supported),
                list(server_supported),
            );
            OpenError::new(OpenErrorKind::NoCommonVersion, Phase::Handshake, message)
        }
        ClientInitializeError::JsonRpcError(error) => {
            let message = format!(
                "the server refused the handshake: {} ({})",
                error.message, error.code.0
            );
            OpenError::new(OpenErrorKind::Handshake, Phase::Handshake, message)
        }
        ClientInitializeError::ConnectionClosed(_) => {
            let message = "the server ended the connection during the handshake";
            OpenError::new(OpenErrorKind::Handshake, Phase::Handshake, message)
        }
        #[cfg(feature = "http")]
        ClientInitializeError::TransportError { error, .. } => http::describe(error),
        #[cfg(not(feature = "http"))]
        ClientInitializeError::TransportError { error, .. } => {
            let message = "the connection broke during the handshake";
            OpenError::new(OpenErrorKind::Handshake, Phase::Handshake, message).with_source(error)
        }
        other => OpenError::new(
            OpenErrorKind::Handshake,
            Phase::Handshake,
            "the handshake failed",
        )
        .with_source(other),
    }
}
