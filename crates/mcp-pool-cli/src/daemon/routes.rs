//! What the gateway serves beside MCP and the status API, and who is let in.
//!
//! The Unix socket is this user's alone, so whatever comes over it may do everything. What comes over TCP has the gateway's
//! own checks, and does not see these routes.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{RawQuery, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use hyper::body::Frame;
use mcp_http_server::{Peer, Shutdown};
use mcp_pooled_tools::ConnectionManager;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::{
    CONNECTION,
    activity::{Activity, counted},
};
use crate::version;

/// What the routes share.
pub(super) struct Shared {
    manager: ConnectionManager,
    pub(super) activity: Activity,
    /// Ends the gateway.
    pub(super) end: CancellationToken,
    pub(super) shutdown: Shutdown,
    pub(super) tasks: TaskTracker,
    pub(super) facts: Facts,
    /// Opens the status API.
    pub(super) token: HeaderValue,
    connections: Mutex<BTreeMap<String, Connection>>,
}

/// What does not change while the gateway runs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Facts {
    pub(super) version: String,
    pub(super) pid: u32,
    /// Where it listens.
    pub(super) addresses: Vec<String>,
    /// The files of servers and settings.
    pub(super) files: Vec<PathBuf>,
    /// Those of servers, also if one does not exist.
    pub(super) server_files: Vec<PathBuf>,
    pub(super) log: Option<PathBuf>,
    /// Seconds without a client after which it ends.
    pub(super) linger_seconds: Option<u64>,
    #[serde(skip)]
    pub(super) began: Instant,
}

/// A `connect`.
#[derive(Debug, Default)]
struct Connection {
    /// While it is attached.
    client: Option<Client>,
    /// Which attachment this is.
    count: u64,
    /// Sessions of its client, which end with it.
    sessions: HashSet<HeaderValue>,
}

#[derive(Clone, Debug)]
struct Client {
    name: String,
    pid: u32,
    since: Instant,
}

impl Shared {
    pub(super) fn new(
        manager: ConnectionManager,
        facts: Facts,
        token: HeaderValue,
        shutdown: Shutdown,
    ) -> Arc<Self> {
        Arc::new(Self {
            manager,
            activity: Activity::new(),
            end: CancellationToken::new(),
            shutdown,
            tasks: TaskTracker::new(),
            facts,
            token,
            connections: Mutex::default(),
        })
    }
}

/// The routes of the gateway with those of the daemon.
pub(super) fn app(gateway: Router, shared: &Arc<Shared>) -> Router {
    let inner = gateway.clone();
    let own = Router::new()
        .route("/daemon", get(info))
        .route("/daemon/stop", post(stop))
        .route(
            "/daemon/attach",
            get(async move |State(shared), RawQuery(query)| {
                match serde_urlencoded::from_str(&query.unwrap_or_default()) {
                    Ok(query) => attach(&shared, inner, query),
                    Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
                }
            }),
        )
        .with_state(Arc::clone(shared));
    own.merge(gateway)
        .layer(from_fn_with_state(Arc::clone(shared), admit))
}

/// Every request: who it is from, and that it is under way.
async fn admit(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let busy = shared.activity.begin();
    let path = request.uri().path();
    let is_local = matches!(request.extensions().get(), Some(Peer::Unix));
    let mut response = if path.starts_with("/daemon") && !is_local {
        StatusCode::NOT_FOUND.into_response()
    } else {
        if is_local && path.starts_with("/mcp") {
            shared.remember(&request);
        } else if is_local || (!path.starts_with("/mcp") && shared.is_open_to(&request)) {
            let token = shared.token.clone();
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        next.run(request).await
    };
    if let Ok(version) = HeaderValue::from_str(&shared.facts.version) {
        response.headers_mut().insert(version::HEADER, version);
    }
    response.map(|body| counted(body, busy))
}

impl Shared {
    /// Whether the request may read the status API without a token: as long as clients need none, and from this machine
    /// alone unless the configuration is `insecure`.
    fn is_open_to(&self, request: &Request) -> bool {
        let config = self.manager.gateway_config();
        let peer = request.extensions().get();
        let is_near = match peer {
            Some(Peer::Tcp(peer)) => peer.ip().to_canonical().is_loopback(),
            _ => false,
        };
        request.method().is_safe()
            && !config.authenticates()
            && (is_near || config.effective().insecure)
    }

    /// Notes which session belongs to which connection.
    fn remember(&self, request: &Request) {
        let headers = request.headers();
        let connection = headers.get(CONNECTION).and_then(|name| name.to_str().ok());
        let (Some(name), Some(session)) = (connection, headers.get(SESSION_ID)) else {
            return;
        };
        let mut connections = self.connections.lock();
        let Some(connection) = connections.get_mut(name) else {
            return;
        };
        if request.method() == Method::DELETE {
            connection.sessions.remove(session);
        } else {
            connection.sessions.insert(session.clone());
        }
    }
}

async fn info(State(shared): State<Arc<Shared>>) -> Response {
    #[derive(Serialize)]
    struct Info {
        #[serde(flatten)]
        facts: Facts,
        uptime_seconds: f64,
        connections: Vec<Attached>,
    }
    #[derive(Serialize)]
    struct Attached {
        client: String,
        pid: u32,
        seconds: f64,
    }
    let connections = shared.connections.lock();
    let clients = connections
        .values()
        .filter_map(|known| known.client.clone());
    let connections = clients.map(|client| Attached {
        client: client.name,
        pid: client.pid,
        seconds: client.since.elapsed().as_secs_f64(),
    });
    Json(Info {
        facts: shared.facts.clone(),
        uptime_seconds: shared.facts.began.elapsed().as_secs_f64(),
        connections: connections.collect(),
    })
    .into_response()
}

async fn stop(State(shared): State<Arc<Shared>>) -> StatusCode {
    tracing::info!("stopping: asked to");
    shared.end.cancel();
    StatusCode::ACCEPTED
}

#[derive(Debug, Deserialize)]
struct Attach {
    connection: String,
    #[serde(default)]
    client: String,
    #[serde(default)]
    pid: u32,
}

/// A response that is open as long as its `connect` runs.
fn attach(shared: &Arc<Shared>, gateway: Router, query: Attach) -> Response {
    let client = Client {
        name: query.client,
        pid: query.pid,
        since: Instant::now(),
    };
    tracing::info!(client = client.name, pid = client.pid, "a client connected");
    let mut connections = shared.connections.lock();
    let known = connections.entry(query.connection.clone()).or_default();
    known.client = Some(client);
    known.count += 1;
    let attached = Attachment {
        shared: Arc::clone(shared),
        gateway,
        name: query.connection,
        count: known.count,
    };
    drop(connections);
    let stopping = shared.shutdown.clone();
    Response::new(Body::new(Open {
        stopping: Box::pin(async move { stopping.stopping().await }),
        _attached: attached,
    }))
}

/// A `connect` that is there until this is dropped.
struct Attachment {
    shared: Arc<Shared>,
    gateway: Router,
    name: String,
    count: u64,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let (gateway, name, count) = (self.gateway.clone(), self.name.clone(), self.count);
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = sleep(ABSENCE) => {}
                () = shared.end.cancelled() => return,
            }
            let gone = {
                let mut connections = shared.connections.lock();
                match connections.get(&name) {
                    Some(connection) if connection.count == count => connections.remove(&name),
                    // It has come back.
                    _ => None,
                }
            };
            let Some(gone) = gone else { return };
            let sessions = gone.sessions.into_iter();
            let sessions = sessions.map(|session| (SESSION_ID, session));
            // Those of modern clients have no id.
            let modern = HeaderValue::from_str(&name).ok();
            for (of, name) in sessions.chain(modern.map(|name| (CONNECTION, name))) {
                let mut request = Request::new(Body::empty());
                *request.method_mut() = Method::DELETE;
                *request.uri_mut() = http::Uri::from_static("/mcp");
                let headers = request.headers_mut();
                headers.insert(header::HOST, HeaderValue::from_static("localhost"));
                headers.insert(of, name);
                request.extensions_mut().insert(Peer::Unix);
                // Its errors are answers.
                let _ = gateway.clone().oneshot(request).await;
            }
        });
    }
}

/// A body without content that ends with the gateway.
struct Open {
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    _attached: Attachment,
}

impl hyper::body::Body for Open {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.stopping.as_mut().poll(context).map(|()| None)
    }
}

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// How long a `connect` may be away before the sessions of its client end.
const ABSENCE: Duration = Duration::from_secs(5);
