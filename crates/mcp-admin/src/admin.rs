//! What is shown, and to whom.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use mcp_pooled_tools::ConnectionManager;
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, lookup_host},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Open, bound::Bound, error::Error, hosts::Hosts, problem::Problem, routes,
    snapshot::Cached, token::Token,
};

/// Status API, Prometheus endpoint and dashboard of a [`ConnectionManager`].
///
/// - [`Admin::router`] gives an axum router, to be nested in an application of your own;
/// - [`Admin::bind`] listens at an address of its own, by default [`Admin::ADDRESS`].
///
/// # Who may ask
///
/// | | no token | with a token |
/// | --- | --- | --- |
/// | bound to loopback | everything | reading; changing with the token |
/// | bound to anything else | refused | with the token ([`Admin::open_reads`] opens reading) |
/// | mounted in an application | nothing ([`Admin::open_reads`] opens reading) | with the token ([`Admin::open_reads`] opens reading) |
///
/// Reading is what a `GET` does. `/healthz`, `/readyz`, the OpenAPI document and the page of the dashboard, without what it
/// shows, are open always. Behind a proxy on the same machine everybody comes from loopback: have a token, and
/// `open_reads(false)`. Requests under a host name that is not known are refused, since it may be that of a page that has its name looked
/// up as this machine: [`Admin::allow_host`]. So are changes that pages from elsewhere ask for.
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
    pub(crate) token: Option<Token>,
    pub(crate) open_reads: Option<bool>,
    pub(crate) hosts: Hosts,
    pub(crate) request_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) drain_delay: Duration,
    pub(crate) grace: Duration,
    pub(crate) began: Instant,
    /// Servers that are to be warm have been, or are known not to be.
    pub(crate) started: CancellationToken,
    /// The end has come.
    pub(crate) leaving: CancellationToken,
    /// Nobody new is let in. Ends event streams, which would go on for ever.
    pub(crate) stopping: CancellationToken,
    /// Places for event streams.
    pub(crate) streams: Arc<Semaphore>,
    /// The turn for making the Prometheus text.
    pub(crate) renders: Arc<Semaphore>,
    /// What all streams show at the moment.
    pub(crate) cached: Arc<Mutex<Cached>>,
}

impl Admin {
    /// Where [`bind`](Self::bind) listens if nothing else is said.
    pub const ADDRESS: &'static str = "127.0.0.1:9888";

    /// Of this manager.
    pub fn new(manager: ConnectionManager) -> Self {
        Self {
            shared: Shared {
                manager,
                token: None,
                open_reads: None,
                hosts: Hosts::default(),
                request_timeout: Duration::from_secs(60),
                idle_timeout: Duration::from_secs(75),
                drain_delay: Duration::ZERO,
                grace: Duration::from_secs(10),
                began: Instant::now(),
                started: CancellationToken::new(),
                leaving: CancellationToken::new(),
                stopping: CancellationToken::new(),
                streams: Arc::new(Semaphore::new(MAX_STREAMS)),
                renders: Arc::new(Semaphore::new(1)),
                cached: Arc::default(),
            },
            address: Self::ADDRESS.to_owned(),
        }
    }

    /// Where to listen: address and port. Port 0 is any that is free: see [`Bound::local_addr`].
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Who changes something must bear this token.
    pub fn token(mut self, token: Token) -> Self {
        self.shared.token = Some(token);
        self
    }

    /// Whether reading needs no token where there is one, or where the router is mounted in an application. Default: at
    /// loopback only.
    pub fn open_reads(mut self, open: bool) -> Self {
        self.shared.open_reads = Some(open);
        self
    }

    /// A name under which it may be asked for, such as `status.example.com`; what stands around it in a URL is left out.
    /// Addresses and `localhost` need not be named. Pages under that name may change something.
    pub fn allow_host(mut self, host: impl AsRef<str>) -> Self {
        self.shared.hosts.allow(host.as_ref());
        self
    }

    /// How long a request may take, except that for events. Default: one minute. A health check ends by itself within the
    /// server's `connection_timeout` and `probe_timeout`.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.shared.request_timeout = limit;
        self
    }

    /// How long a connection may be idle between requests, and take to say what it wants. Default: 75 s, more than proxies
    /// keep theirs.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.shared.idle_timeout = limit;
        self
    }

    /// How long everybody is served still after `/readyz` has begun to say no, so that a balancer can notice. Default: not
    /// at all.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.shared.drain_delay = delay;
        self
    }

    /// How long requests under way may take once the end has come. Default: ten seconds.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.shared.grace = grace;
        self
    }

    /// The routes, to be nested in an application: `app.nest_service("/mcp-pool", admin.router())`, which serves the page
    /// at `/mcp-pool` and `/mcp-pool/` (`nest` does so at the first only).
    ///
    /// The application's end must come before that of the manager, and event streams end only when they are told to:
    /// [`Bound::serve_app`] sees to both.
    pub fn router(&self) -> Router {
        let shared = Arc::new(self.shared.clone());
        let open = shared.open(None);
        routes::all(shared, open)
    }

    /// Listens, and serves nothing yet.
    ///
    /// # Errors
    /// [`Error::Unprotected`] if there is no token and the address is not that of this machine alone; [`Error::Bind`].
    pub async fn bind(self) -> Result<Bound, Error> {
        let failed = |source| Error::Bind {
            address: self.address.clone(),
            source,
        };
        let addresses: Vec<SocketAddr> =
            lookup_host(&self.address).await.map_err(failed)?.collect();
        let exposed = addresses.iter().find(|at| !at.ip().is_loopback());
        if let (Some(&address), None) = (exposed, &self.shared.token) {
            return Err(Error::Unprotected { address });
        }
        let listener = TcpListener::bind(&*addresses).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Bound::new(Arc::new(self.shared), listener, address))
    }
}

impl Shared {
    /// The server of a name, by the name it is configured under.
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
            .field("token", &self.shared.token)
            .finish_non_exhaustive()
    }
}

/// Event streams at a time. Each is a connection, and a browser makes one a page.
const MAX_STREAMS: usize = 256;
