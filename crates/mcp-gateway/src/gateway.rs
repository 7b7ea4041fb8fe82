//! The gateway: its settings, its routes, and its life.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use axum::{Router, routing::any};
use mcp_admin::Admin;
use mcp_http_server::{Listener, Server, Shutdown};
use mcp_pooled_tools::{Aggregator, ConnectionManager, GatewayConfig, Identity, Prefix, Sharing};
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    edge::Edge,
    endpoint,
    error::Error,
    follow,
    forwarded::Forwarded,
    keys::{self, Keys},
    limits::{self, UnderWay},
    parked::Parked,
    path::Path,
    principal::Principal,
    questions::{Ask, Handler, declared},
    session::{ClientIdentity, Session},
    sessions::{SessionLimits, Sessions},
    stream::StreamLimits,
};

/// Many servers behind one address. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) manager: ConnectionManager,
    pub(crate) settings: Settings,
    pub(crate) edge: Arc<Edge>,
    pub(crate) keys: Keys,
    pub(crate) sessions: Sessions,
    pub(crate) parked: Parked,
    pub(crate) tasks: TaskTracker,
    /// The stages of the end, as the listener has them.
    pub(crate) shutdown: Shutdown,
    /// Ends what no request waits for.
    pub(crate) end: CancellationToken,
    /// Tells this process from others with the same keys.
    pub(crate) incarnation: u32,
    profiles: HashMap<String, Vec<String>>,
    pub(crate) admin: Option<Admin>,
    /// Of its listener.
    connections: usize,
    /// By path, with the references of a profile, which a reload may change.
    views: Mutex<HashMap<Path, (Vec<String>, Aggregator)>>,
    sweeping: OnceLock<()>,
}

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) replica: String,
    pub(crate) keep_alive: Duration,
    pub(crate) park_limit: Duration,
    pub(crate) max_session_age: Duration,
    pub(crate) max_message_size: usize,
    pub(crate) stream: StreamLimits,
    sessions: SessionLimits,
    pub(crate) grace: Duration,
    drain_delay: Duration,
    /// Of one session, at a time.
    pub(crate) max_calls: usize,
}

/// Settings of a [`Gateway`].
#[must_use = "nothing is served before `build`"]
pub struct GatewayBuilder {
    pub(crate) manager: ConnectionManager,
    settings: Settings,
    keys: Option<Keys>,
    key_file: Option<PathBuf>,
    shutdown: Shutdown,
    profiles: HashMap<String, Vec<String>>,
    pub(crate) admin: Option<Admin>,
}

impl Gateway {
    /// A gateway to the servers of this manager, with the settings of its
    /// [`gateway_config`](ConnectionManager::gateway_config).
    pub fn builder(manager: ConnectionManager) -> GatewayBuilder {
        let config = manager.gateway_config();
        GatewayBuilder {
            settings: Settings::of(&config),
            keys: None,
            key_file: config.key_file.clone(),
            manager,
            shutdown: Shutdown::new(),
            profiles: HashMap::new(),
            admin: None,
        }
    }

    /// The routes, to be merged into an application: `/mcp`, `/mcp/s/{server}` and `/mcp/p/{profile}`.
    ///
    /// A [`Principal`] among the extensions of a request is whom it is from. Without one the request is authenticated as the
    /// configuration says. Where that has no authentication, only requests of this machine are served: a
    /// [`Peer`](mcp_http_server::Peer) or axum's `ConnectInfo<SocketAddr>` among the extensions shows where one is from.
    pub fn router(&self) -> Router {
        let engine = Router::new()
            .route("/mcp", any(endpoint::all))
            .route("/mcp/s/{server}", any(endpoint::server))
            .route("/mcp/p/{profile}", any(endpoint::profile))
            .with_state(Arc::clone(&self.0));
        self.0.edge.protect(engine)
    }

    /// Serves until `end` completes, and then ends in this order: requests are served for the
    /// [drain delay](GatewayBuilder::drain_delay); no more connections are accepted and streams end; calls in flight are answered within the [grace](GatewayBuilder::grace), or else with an error; the manager is shut down.
    ///
    /// # Cancel safety
    /// If it is dropped, all connections are closed at once and the manager is not shut down.
    pub async fn serve(&self, listener: impl Into<Listener>, end: impl Future<Output = ()>) {
        self.serve_app([listener.into()], self.app(), end).await;
    }

    /// Serves an application instead, of which the [`router`](Gateway::router) is a part, on several sockets. It ends in the
    /// same order.
    ///
    /// # Cancel safety
    /// As [`Gateway::serve`].
    pub async fn serve_app(
        &self,
        listeners: impl IntoIterator<Item = Listener>,
        app: Router,
        end: impl Future<Output = ()>,
    ) {
        let inner = &self.0;
        let grace = inner.settings.grace;
        let mut server = Server::new()
            .shutdown(inner.shutdown.clone())
            .max_body_size(inner.settings.max_message_size)
            .max_connections(inner.connections)
            .drain_delay(inner.settings.drain_delay)
            // What is answered with an error at the end of the grace is still written.
            .grace(grace + Duration::from_secs(1));
        for listener in listeners {
            server = server.listen(listener);
        }
        let mut serving = std::pin::pin!(server.serve(app, end));
        let late = async {
            inner.shutdown.stopping().await;
            sleep(grace).await;
        };
        tokio::select! {
            () = &mut serving => {}
            () = late => {
                inner.sessions.end_all();
                serving.await;
            }
        }
        self.close().await;
    }

    /// Ends all sessions and shuts the manager down.
    pub(crate) async fn close(&self) {
        let inner = &self.0;
        inner.end.cancel();
        inner.sessions.end_all();
        inner.tasks.close();
        inner.tasks.wait().await;
        inner.edge.close().await;
        inner.manager.shutdown().await;
    }
}

impl Inner {
    /// What a principal sees at a path; `None` if nothing is there.
    pub(crate) fn view(
        &self,
        path: &Path,
        principal: &Principal,
        forwarded: &Forwarded,
    ) -> Option<Aggregator> {
        let view = self.base(path)?;
        if *principal == Principal::local() && forwarded.is_empty() {
            return Some(view);
        }
        let identity = Identity::new(principal.to_string());
        Some(view.with_identity(forwarded.identity(identity)))
    }

    fn base(&self, path: &Path) -> Option<Aggregator> {
        if let Path::Server(name) = path
            && !self.manager.servers().contains(name)
        {
            return None;
        }
        let references = match path {
            Path::All | Path::Server(_) => Vec::new(),
            Path::Profile(name) => match self.profiles.get(name) {
                Some(references) => references.clone(),
                None => self.manager.gateway_config().profiles.get(name)?.clone(),
            },
        };
        if let Some((of, view)) = self.views.lock().get(path)
            && *of == references
        {
            return Some(view.clone());
        }
        let all = self.manager.aggregator();
        let view = match path {
            Path::All => all,
            // With the prefix of references, which a name may begin with itself.
            Path::Server(name) => {
                let reference = format!("mcp.{name}");
                let server = all.select([reference.as_str()]).ok()?;
                server.with_prefix(Prefix::Never)
            }
            Path::Profile(_) => all.select(references.iter().map(String::as_str)).ok()?,
        };
        let made = (references, view.clone());
        self.views.lock().insert(path.clone(), made);
        Some(view)
    }

    pub(crate) fn make_session(
        self: &Arc<Self>,
        scope: &str,
        is_legacy: bool,
        principal: &Principal,
        client: ClientIdentity,
        path: &Path,
        view: &Aggregator,
    ) -> Arc<Session> {
        let declared = declared(client.capabilities.clone());
        let scoped = |this: &Weak<Session>| {
            let view = view.scoped(scope);
            let handler = Handler {
                session: Weak::clone(this),
                ask: Ask::OnSession,
                level: None,
            };
            view.with_client(declared, handler)
        };
        let session = Session::new(
            scope,
            is_legacy,
            principal.clone(),
            client,
            path.clone(),
            scoped,
        );
        if is_legacy {
            self.tasks.spawn(follow::session(
                Arc::downgrade(&session),
                session.view.notifications(),
                session.end.clone(),
                self.shutdown.clone(),
            ));
        }
        self.sweeping.get_or_init(|| {
            self.tasks
                .spawn(sweep(Arc::downgrade(self), self.end.clone()));
        });
        session
    }
}

/// Ends idle sessions from time to time.
async fn sweep(gateway: Weak<Inner>, end: CancellationToken) {
    loop {
        let Some(pause) = gateway
            .upgrade()
            .map(|gateway| gateway.settings.sessions.idle / 4)
        else {
            return;
        };
        tokio::select! {
            () = sleep(pause.clamp(Duration::from_millis(10), Duration::from_secs(60))) => {}
            () = end.cancelled() => return,
        }
        let Some(gateway) = gateway.upgrade() else {
            return;
        };
        gateway.sessions.end_idle();
    }
}

impl Inner {
    /// Whether each client's state on this server is its own.
    pub(crate) fn is_pinned(&self, server: &str) -> bool {
        let settings = self.manager.settings(server);
        settings.is_ok_and(|settings| settings.effective.sharing == Sharing::Pinned)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end.cancel();
        self.sessions.end_all();
    }
}

impl GatewayBuilder {
    /// The keys that seal session ids. Default: one that ends with the process, after which clients have to initialize
    /// again.
    pub fn keys(mut self, keys: Keys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Has the keys in this file, which is made if it does not exist: see [`Keys::from_file`].
    pub fn key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.key_file = Some(path.into());
        self
    }

    /// The name of this process among its replicas, by which a balancer can route: at most 16 characters of `[a-z0-9-]`.
    /// Default: `r0`.
    pub fn replica(mut self, name: impl Into<String>) -> Self {
        self.settings.replica = name.into();
        self
    }

    /// Serves a selection of servers and tools at `/mcp/p/{name}`: see [`Aggregator::select`].
    pub fn profile(
        mut self,
        name: impl Into<String>,
        references: impl IntoIterator<Item: Into<String>>,
    ) -> Self {
        let references = references.into_iter().map(Into::into);
        self.profiles.insert(name.into(), references.collect());
        self
    }

    /// How long a session may be without a call or an open stream. Default: 24 hours.
    pub fn session_idle_timeout(mut self, limit: Duration) -> Self {
        self.settings.sessions.idle = limit;
        self
    }

    /// How long after its making a session id opens in a process that did not know it. Default: 30 days.
    pub fn max_session_age(mut self, limit: Duration) -> Self {
        self.settings.max_session_age = limit;
        self
    }

    /// Sessions in use at a time, of one principal and in all. Beyond it the one that is idle for longest is dropped, first of
    /// those whose stream has ended, and rebuilt if its client comes back. If none is idle for a minute, or has lost its
    /// stream, the request is refused. Default: 256 and 4,096.
    ///
    /// The listener has two connections for each session, one of them for its stream, but no fewer than 512, and no more than
    /// three quarters of the descriptors that the process may have. One principal has two requests under way for each of
    /// its sessions, open streams among them, and at most half of the connections.
    pub fn max_sessions(mut self, per_principal: usize, total: usize) -> Self {
        self.settings.sessions.per_principal = per_principal;
        self.settings.sessions.total = total;
        self
    }

    /// Bytes of a message. Default: 16 MiB.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.settings.max_message_size = bytes;
        self
    }

    /// Messages and bytes that may wait for a reader of a stream. Beyond them the stream is closed, and the call that writes
    /// to it is cancelled. Default: 256 and 8 MiB.
    pub fn stream_limits(mut self, messages: usize, bytes: usize) -> Self {
        self.settings.stream = StreamLimits { messages, bytes };
        self
    }

    /// How long an open stream is silent before a comment is sent. Default: 15 s.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.settings.keep_alive = interval;
        self
    }

    /// How long a server's question waits for the answer of the client. The `call_timeout` of the server stands still meanwhile.
    /// Default: 10 minutes.
    pub fn park_limit(mut self, limit: Duration) -> Self {
        self.settings.park_limit = limit;
        self
    }

    /// How long calls in flight may take at the end. Default: 30 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// How long requests are served after the end has begun, so that a load balancer can notice by `/readyz`, which answers
    /// 503: see [`admin`](GatewayBuilder::admin). Meanwhile no client begins a session with a pinned server. Default: none.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.settings.drain_delay = delay;
        self
    }

    /// Requests of one session that may be under way; more are refused. Modern clients of one principal that ask at one
    /// address and can do the same count as one session. Default: 512.
    pub fn max_calls_per_session(mut self, calls: usize) -> Self {
        self.settings.max_calls = calls;
        self
    }

    /// The stages of the end, where the application's own server ends: streams end at its
    /// [`stopping`](Shutdown::stopping).
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// The gateway.
    ///
    /// # Errors
    /// [`Error::KeyFile`], [`Error::Setting`].
    pub fn build(self) -> Result<Gateway, Error> {
        let replica = &self.settings.replica;
        let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if replica.is_empty() || replica.len() > 16 || !replica.bytes().all(plain) {
            let message = format!(
                "replica `{}`: give 1 to 16 characters of a-z, 0-9 and -",
                replica.escape_debug()
            );
            return Err(Error::Setting(message));
        }
        let keys = match (self.keys, self.key_file) {
            (Some(keys), _) => keys,
            (None, Some(path)) => Keys::from_file(path)?,
            (None, None) => Keys::random(),
        };
        let limits = self.settings.sessions;
        let connections = limits::connections(limits.total);
        let under_way = UnderWay::new(limits.per_principal, connections);
        let edge = Edge::new(self.manager.clone(), under_way)?;
        Ok(Gateway(Arc::new(Inner {
            edge,
            connections,
            manager: self.manager,
            sessions: Sessions::new(self.settings.sessions),
            settings: self.settings,
            keys,
            parked: Parked::default(),
            tasks: TaskTracker::new(),
            shutdown: self.shutdown,
            end: CancellationToken::new(),
            incarnation: u32::from_be_bytes(keys::random()),
            profiles: self.profiles,
            admin: self.admin,
            views: Mutex::default(),
            sweeping: OnceLock::new(),
        })))
    }
}

impl Settings {
    fn of(config: &GatewayConfig) -> Self {
        let limits = config.effective();
        let default = Self::default();
        Self {
            replica: config.replica.clone().unwrap_or(default.replica),
            sessions: SessionLimits {
                idle: limits.session_idle,
                per_principal: limits.max_sessions_per_principal as usize,
                total: limits.max_sessions as usize,
            },
            ..default
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replica: "r0".to_owned(),
            keep_alive: Duration::from_secs(15),
            park_limit: Duration::from_secs(10 * 60),
            max_session_age: Duration::from_secs(30 * 24 * 60 * 60),
            max_message_size: 16 * 1024 * 1024,
            stream: StreamLimits::default(),
            sessions: SessionLimits {
                idle: Duration::from_secs(24 * 60 * 60),
                per_principal: 256,
                total: 4_096,
            },
            grace: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            max_calls: 512,
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
