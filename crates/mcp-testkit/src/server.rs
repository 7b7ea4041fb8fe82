//! The server: its options, its counters and its sessions.
//!
//! A [`TestServer`] is a handle. Clones share everything except the session, so that one server counts for many connections.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::{Mutex, RwLock};
use rmcp::{
    ErrorData, Peer, RoleServer,
    model::{ClientRequest, ProtocolVersion, Tool},
    service::RequestContext,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    sync::{Semaphore, SemaphorePermit, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Era, Faults, Hang, OpeningFailure, Options, Stats,
    call_counter::CallCounter,
    counters::Counters,
    era::Opening,
    flood,
    line_transport::{Connection, HostProcess, LineTransport},
    open_counter::OpenCounter,
    stdout_noise, tools,
};

/// A scriptable MCP server.
///
/// Serve it over anything rmcp serves over, or take a connection to it by [`connect`](Self::connect),
/// which supports the faults below the protocol as well.
#[derive(Debug)]
pub struct TestServer {
    pub(crate) options: Arc<Options>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) session: Arc<Session>,
    /// Present where the server owns its transport, and with it the means to break it.
    pub(crate) connection: Option<Arc<Connection>>,
}

/// What all sessions of a server have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) counters: Counters,
    pub(crate) call_counter: CallCounter,
    pub(crate) tools: RwLock<Vec<Tool>>,
    pub(crate) tools_changed: watch::Sender<u64>,
    /// Legacy sessions to tell about changes; modern ones listen on a subscription.
    pub(crate) peers: Mutex<Vec<Peer<RoleServer>>>,
    pub(crate) grandchildren: Mutex<Vec<std::process::Child>>,
    pub(crate) host: OnceLock<HostProcess>,
    /// Set by `freeze` where there is no connection to freeze.
    pub(crate) hung: CancellationToken,
    pub(crate) calls_in_flight: AtomicU64,
    sessions_begun: AtomicU64,
    opens: OpenCounter,
    turn: Semaphore,
    sessions: TaskTracker,
}

/// What belongs to one connection.
#[derive(Debug, Default)]
pub(crate) struct Session {
    number: OnceLock<u64>,
    /// Subscriptions accepted and not yet begun.
    pub(crate) accepted: Mutex<VecDeque<watch::Receiver<u64>>>,
    doomed: OnceLock<bool>,
}

impl TestServer {
    /// A well-behaved server that speaks both eras.
    pub fn new() -> Self {
        Self::with_options(Options::default())
    }

    /// A server with faults, otherwise as [`new`](Self::new).
    pub fn with_faults(faults: Faults) -> Self {
        Self::with_options(Options {
            faults,
            ..Options::default()
        })
    }

    /// A server as the options say; those about transport and process mean nothing here.
    pub fn with_options(options: Options) -> Self {
        Self {
            options: Arc::new(options),
            shared: Arc::new(Shared::new()),
            session: Arc::default(),
            connection: None,
        }
    }

    /// The same server in another era; the counters stay shared.
    #[must_use]
    pub fn with_era(&self, era: Era) -> Self {
        let mut server = self.clone();
        Arc::make_mut(&mut server.options).era = era;
        server
    }

    /// Opens a connection to this server inside the process, and serves it until either side ends it.
    ///
    /// Unlike `server.serve(..)` of rmcp this goes through the kit's own transport: requests are
    /// counted that rmcp answers by itself, and the faults of stdio work.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(DUPLEX_BUFFER);
        let (reader, writer) = tokio::io::split(server);
        let session = self.clone();
        self.shared.sessions.spawn(async move {
            session
                .serve_streams(reader, writer, HostProcess::Shared)
                .await;
        });
        client
    }

    /// How many connections made by [`connect`](Self::connect) are still served.
    pub fn open_connections(&self) -> usize {
        self.shared.sessions.len()
    }

    /// Tool calls that reached a tool, cancelled and failed ones included.
    pub fn calls(&self) -> u64 {
        self.stats().calls.values().sum()
    }

    /// Calls of one tool.
    pub fn calls_of(&self, tool: &str) -> u64 {
        self.stats().calls.get(tool).copied().unwrap_or(0)
    }

    /// `notifications/cancelled` received. Over modern HTTP a cancel is a dropped stream instead: see
    /// [`Stats::interruptions`].
    pub fn cancelled(&self) -> u64 {
        self.stats().cancelled
    }

    /// `ping` requests received, refused ones included.
    pub fn pings(&self) -> u64 {
        self.requests_of("ping")
    }

    /// List requests received, of tools, prompts, resources and templates.
    pub fn lists(&self) -> u64 {
        let requests = self.stats().requests;
        let lists = requests
            .iter()
            .filter(|(method, _)| method.ends_with("/list"));
        lists.map(|(_, count)| count).sum()
    }

    /// `initialize` requests answered with success.
    pub fn initializations(&self) -> u64 {
        self.stats().initializations
    }

    /// `server/discover` requests answered with success.
    pub fn discoveries(&self) -> u64 {
        self.stats().discoveries
    }

    /// Requests of one method, unknown and refused ones included.
    pub fn requests_of(&self, method: &str) -> u64 {
        self.stats().requests.get(method).copied().unwrap_or(0)
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.stats().requests.values().sum()
    }

    /// All counters at once.
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot()
    }

    /// Serves one connection until it ends.
    pub(crate) async fn serve_streams<R, W>(mut self, reader: R, writer: W, host: HostProcess)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let faults = self.options.faults.clone();
        let connection = Arc::new(Connection::new(Box::new(writer), faults.clone(), host));
        self.connection = Some(connection.clone());
        if self.is_doomed(OpeningFailure::Exit) {
            connection.exit(1).await;
            return;
        }
        if faults.hang == Some(Hang::BeforeHandshake) {
            connection.gone().await;
        }
        if let Some(delay) = faults.slow_start {
            tokio::time::sleep(delay).await;
        }
        if faults.garbage && connection.write_raw(stdout_noise::BANNER).await.is_err() {
            return;
        }
        let transport = LineTransport::new(reader, connection.clone(), self.same_session());
        tokio::select! {
            () = connection.gone() => {}
            () = async {
                connection.called().await;
                if let Some(flood) = faults.flood {
                    flood::run(flood, &connection).await;
                }
                std::future::pending::<()>().await;
            } => {}
            _ = async {
                if let Ok(running) = rmcp::serve_server(self, transport).await {
                    // How it ended is the client's to observe.
                    let _ = running.waiting().await;
                }
            } => {}
        }
        connection.close_output().await;
    }

    /// The number of this session among all of the server, from 1; `None` where requests stand alone.
    pub(crate) fn session_number(&self) -> Option<u64> {
        self.session.number.get().copied()
    }

    pub(crate) fn begin_session(&self) {
        self.session
            .number
            .get_or_init(|| self.shared.sessions_begun.fetch_add(1, Relaxed) + 1);
    }

    pub(crate) fn saw_request(&self, method: &str) {
        self.shared.counters.request(method);
    }

    /// The error for an opening that is to fail, by the era or by the faults.
    pub(crate) fn refuse(&self, request: &ClientRequest) -> Option<ErrorData> {
        match request {
            ClientRequest::InitializeRequest(request) => {
                self.refuse_opening(Opening::Initialize, Some(&request.params.protocol_version))
            }
            ClientRequest::DiscoverRequest(_) => self.refuse_opening(Opening::Discover, None),
            _ => None,
        }
    }

    pub(crate) fn refuse_opening(
        &self,
        opening: Opening,
        asked: Option<&ProtocolVersion>,
    ) -> Option<ErrorData> {
        self.options.era.refusal(opening, asked).or_else(|| {
            self.is_doomed(OpeningFailure::Error)
                .then(|| ErrorData::internal_error("this opening fails by script", None))
        })
    }

    /// What every request passes before it is served: the count, the faults that swallow requests, the
    /// era, and the queue of a server that does one thing at a time.
    pub(crate) async fn admit(
        &self,
        method: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<Option<SemaphorePermit<'_>>, ErrorData> {
        if self.connection.is_none() {
            self.saw_request(method);
            if self.options.faults.hang.is_some() || self.shared.hung.is_cancelled() {
                context.ct.cancelled().await;
            }
        }
        let version = context.protocol_version();
        if self.options.era == Era::Legacy
            && let Some(version) = version.filter(|version| !version.has_initialize())
        {
            let supported = ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25);
            return Err(ErrorData::unsupported_protocol_version(version, supported));
        }
        if !self.options.faults.single_threaded {
            return Ok(None);
        }
        let turn = self.shared.turn.acquire().await;
        Ok(Some(turn.expect("the semaphore is never closed")))
    }

    fn is_doomed(&self, how: OpeningFailure) -> bool {
        match &self.options.faults.fail_first {
            Some(fail_first) if fail_first.how == how => *self
                .session
                .doomed
                .get_or_init(|| self.shared.opens.next_fails(fail_first)),
            _ => false,
        }
    }

    /// Another handle on this very session, where [`Clone`] begins a new one.
    fn same_session(&self) -> Self {
        Self {
            options: self.options.clone(),
            shared: self.shared.clone(),
            session: self.session.clone(),
            connection: self.connection.clone(),
        }
    }
}

impl Default for TestServer {
    fn default() -> Self {
        Self::new()
    }
}

/// A clone is the same server, ready for another connection.
impl Clone for TestServer {
    fn clone(&self) -> Self {
        Self {
            options: self.options.clone(),
            shared: self.shared.clone(),
            session: Arc::default(),
            connection: None,
        }
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            counters: Counters::default(),
            call_counter: CallCounter::default(),
            tools: RwLock::new(tools::all()),
            tools_changed: watch::Sender::new(0),
            peers: Mutex::default(),
            grandchildren: Mutex::default(),
            host: OnceLock::new(),
            hung: CancellationToken::new(),
            calls_in_flight: AtomicU64::new(0),
            sessions_begun: AtomicU64::new(0),
            opens: OpenCounter::default(),
            turn: Semaphore::new(1),
            sessions: TaskTracker::new(),
        }
    }

    /// Whether exits are real here.
    pub(crate) fn owns_process(&self) -> bool {
        self.host.get() == Some(&HostProcess::Own)
    }
}

/// As large as a pipe on Linux, so that a full one behaves the same.
const DUPLEX_BUFFER: usize = 64 * 1024;
