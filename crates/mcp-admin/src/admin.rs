//! The status API's settings, and what its requests share.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use axum::Router;
use mcp_http_server::{HostCheck, Shutdown, Token, Tokens};
use mcp_pooled_tools::ConnectionManager;
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, lookup_host},
    sync::Semaphore,
    time::Instant,
};

use crate::{
    access::Open, clients::Clients, error::Error, problem::Problem, routes, server::Bound,
    snapshot::Cached,
};

/// Event streams at a time. Each is a connection, and a browser opens one for each page.
const MAX_STREAMS: usize = 256;

/// Status API, Prometheus endpoint and dashboard of a [`ConnectionManager`].
///
/// - [`Admin::router`] returns an axum router, to be nested in an application of your own;
/// - [`Admin::bind`] listens at an address of its own, by default [`Admin::ADDRESS`].
///
/// # What needs the token
///
/// | | no token | with a token |
/// | --- | --- | --- |
/// | bound to loopback | everything | reading; changing with the token |
/// | bound to anything else | refused | with the token ([`Admin::open_reads`] opens reading) |
/// | mounted in an application | nothing ([`Admin::open_reads`] opens reading) | with the token ([`Admin::open_reads`] opens reading) |
///
/// Reading is what a `GET` does. `/healthz`, `/readyz`, the OpenAPI document and the page of the dashboard, without its data,
/// are always open. Behind a proxy on the same machine all requests come from loopback: set a token and
/// `open_reads(false)`. Requests for an unknown host name are refused ([`Admin::allow_host`]), since a page may have its own
/// name resolve to this machine. So are changes requested by pages of other sites.
#[derive(Clone)]
#[must_use = "nothing is served before `bind` or `router`"]
pub struct Admin {
    shared: Shared,
    address: String,
}

/// What all requests share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) manager: ConnectionManager,
    /// Of a gateway.
    pub(crate) clients: Option<Arc<dyn Clients>>,
    /// At most one.
    pub(crate) tokens: Tokens,
    pub(crate) open_reads: Option<bool>,
    pub(crate) hosts: HostCheck,
    pub(crate) request_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) drain_delay: Duration,
    pub(crate) grace: Duration,
    pub(crate) began: Instant,
    /// Each eager server has had a session, or has failed to open one.
    pub(crate) started: Arc<AtomicBool>,
    pub(crate) shutdown: Shutdown,
    /// Permits for event streams.
    pub(crate) streams: Arc<Semaphore>,
    /// The permit to render the Prometheus text.
    pub(crate) renders: Arc<Semaphore>,
    /// The snapshot that all streams share.
    pub(crate) cached: Arc<Mutex<Cached>>,
}

impl Admin {
    /// Where [`bind`](Self::bind) listens by default.
    pub const ADDRESS: &'static str = "127.0.0.1:9888";

    /// A status API of this manager.
    pub fn new(manager: ConnectionManager) -> Self {
        Self {
            shared: Shared {
                manager,
                clients: None,
                tokens: Tokens::new(),
                open_reads: None,
                hosts: HostCheck::new(),
                request_timeout: Duration::from_secs(60),
                idle_timeout: Duration::from_secs(75),
                drain_delay: Duration::ZERO,
                grace: Duration::from_secs(10),
                began: Instant::now(),
                started: Arc::default(),
                shutdown: Shutdown::new(),
                streams: Arc::new(Semaphore::new(MAX_STREAMS)),
                renders: Arc::new(Semaphore::new(1)),
                cached: Arc::default(),
            },
            address: Self::ADDRESS.to_owned(),
        }
    }

    /// Where to listen: address and port. Port 0 selects a free one: see [`Bound::local_addr`].
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// The bearer token that changes need. It replaces one set before.
    pub fn token(mut self, token: Token) -> Self {
        self.shared.tokens = Tokens::new().with("operator", token);
        self
    }

    /// Whether reading needs no token where there is one, or where the router is mounted in an application. Default: on
    /// loopback only.
    pub fn open_reads(mut self, open: bool) -> Self {
        self.shared.open_reads = Some(open);
        self
    }

    /// Shows the clients of this gateway.
    pub fn clients(mut self, clients: Arc<dyn Clients>) -> Self {
        self.shared.clients = Some(clients);
        self
    }

    /// The stages of the end, where an application's own server ends: `/readyz` answers 503 and event streams end as they
    /// say.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shared.shutdown = shutdown;
        self
    }

    /// Accepts requests for this host name, such as `status.example.com`. Of a URL, such as `https://status.example.com`, changes
    /// requested by pages of its origin are accepted as well. Addresses and `localhost` are always accepted.
    pub fn allow_host(mut self, host: impl AsRef<str>) -> Self {
        self.shared.hosts.allow_host(host.as_ref());
        self
    }

    /// How long a request may take, except one for events. Default: one minute. A health check ends within the server's
    /// `connection_timeout` and `probe_timeout`.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.shared.request_timeout = limit;
        self
    }

    /// How long a connection may be idle between requests, and take to send the head of one. Default: 75 s, more than
    /// proxies keep theirs.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.shared.idle_timeout = limit;
        self
    }

    /// How long requests are served after `/readyz` has begun to answer 503, so that a load balancer can notice. Default:
    /// none.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.shared.drain_delay = delay;
        self
    }

    /// How long requests under way may take after the drain delay. Default: ten seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.shared.grace = grace;
        self
    }

    /// The routes, to be nested in an application: `app.nest_service("/mcp-pool", admin.router())`, which serves the page
    /// at `/mcp-pool` and `/mcp-pool/` (`nest` does so at the first only).
    ///
    /// The application must end before the manager does, and event streams do not end by themselves:
    /// [`Bound::serve_app`] ends all in the right order.
    pub fn router(&self) -> Router {
        let shared = Arc::new(self.shared.clone());
        let open = shared.open(None);
        routes::all(shared, open)
    }

    /// Listens, without serving yet.
    ///
    /// # Errors
    /// [`Error::Unprotected`] if there is no token and other machines could reach the address; [`Error::Bind`].
    pub async fn bind(self) -> Result<Bound, Error> {
        let failed = |source| Error::Bind {
            address: self.address.clone(),
            source,
        };
        let addresses: Vec<SocketAddr> =
            lookup_host(&self.address).await.map_err(failed)?.collect();
        let exposed = addresses.iter().find(|at| !at.ip().is_loopback());
        if let (Some(&address), true) = (exposed, self.shared.tokens.is_empty()) {
            return Err(Error::Unprotected { address });
        }
        let listener = TcpListener::bind(&*addresses).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Bound::new(Arc::new(self.shared), listener, address))
    }
}

impl Shared {
    /// The configured name of a server.
    pub(crate) fn server_name(&self, name: &str) -> Result<String, Problem> {
        let known = self.manager.servers();
        let is = |name: &str| known.iter().find(|known| *known == name).cloned();
        is(name)
            .or_else(|| is(name.strip_prefix("mcp.")?))
            .ok_or_else(|| Problem::unknown_server(name, known.clone()))
    }

    pub(crate) fn router(self: &Arc<Self>, open: Open) -> Router {
        routes::all(Arc::clone(self), open)
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("address", &self.address)
            .field("tokens", &self.shared.tokens)
            .finish_non_exhaustive()
    }
}
