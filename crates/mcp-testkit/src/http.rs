//! The server over streamable HTTP, with the troubles of HTTP in front of it.
//!
//! hyper is driven by hand rather than through a web framework, because the interesting faults are
//! those of connections: how many there were, whether Nagle delays them, and all of them cut at once.

use std::{
    convert::Infallible,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rmcp::{
    model::ProtocolVersion,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{Era, HttpServing, TestServer, stdio};

type Mcp = StreamableHttpService<TestServer, LocalSessionManager>;
type Reply = Response<BoxBody<Bytes, Infallible>>;

/// How a server behaves over HTTP.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The server behind it.
    pub server: TestServer,
    /// The era it speaks; [`Era::Both`] leaves the server's own.
    pub era: Era,
    /// Where to listen; port 0 picks a free one.
    pub address: SocketAddr,
    /// Whether accepted sockets get TCP_NODELAY. Without it the kernel may hold back small segments,
    /// and a client that delays its acknowledgements waits 40 ms for a reply.
    pub nodelay: bool,
    /// Answer every request with this status; 401 brings its challenge with it.
    pub status: Option<u16>,
    /// Answer this many requests with 503 before serving any.
    pub fail_first: usize,
    /// Answer 401 to requests without this bearer token.
    pub bearer: Option<String>,
}

/// A server listening on a port of this machine.
#[derive(Debug)]
pub struct HttpServer {
    front: Arc<Front>,
    address: SocketAddr,
    running: Option<Running>,
}

impl HttpServer {
    /// Listens, and serves from now on.
    ///
    /// # Panics
    ///
    /// The address is taken, or this is not a tokio runtime.
    pub async fn start(options: HttpOptions) -> Self {
        let front = Arc::new(Front::new(options));
        let listener = TcpListener::bind(front.options.address).await;
        let listener = listener.expect("the address to listen on is free");
        let address = listener.local_addr().expect("a listener has an address");
        Self {
            running: Some(Running::start(listener, front.clone())),
            front,
            address,
        }
    }

    /// Stops listening and cuts every connection, as the death of the process would. Afterwards
    /// connections are refused.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Stops, if need be, and listens on the same port again, with every session forgotten.
    ///
    /// # Panics
    ///
    /// Somebody else took the port meanwhile.
    pub async fn restart(&mut self) {
        self.stop().await;
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.expect("the port of the last run is still free");
        self.running = Some(Running::start(listener, self.front.clone()));
    }

    /// Cuts every connection and goes on serving; sessions are remembered.
    pub async fn cut(&self) {
        if let Some(running) = &self.running {
            running.cut().await;
        }
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// The address it listens on, also while it is stopped.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server behind it, with its counters.
    pub fn server(&self) -> &TestServer {
        &self.front.options.server
    }

    /// TCP connections accepted.
    pub fn connections(&self) -> u64 {
        self.front.connections.load(Relaxed)
    }

    /// HTTP requests of any method, answered or turned away.
    pub fn requests(&self) -> u64 {
        self.front.requests.load(Relaxed)
    }

    /// POST requests.
    pub fn posts(&self) -> u64 {
        self.front.posts.load(Relaxed)
    }

    /// GET requests: legacy clients opening the stream for what the server sends unasked.
    pub fn gets(&self) -> u64 {
        self.front.gets.load(Relaxed)
    }

    /// DELETE requests: sessions ended by their client.
    pub fn deletes(&self) -> u64 {
        self.front.deletes.load(Relaxed)
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        let HttpServing {
            address,
            nodelay,
            status,
            fail_first,
            bearer,
        } = HttpServing::default();
        Self {
            server: TestServer::new(),
            era: Era::default(),
            address,
            nodelay,
            status,
            fail_first,
            bearer,
        }
    }
}

/// The binary's HTTP mode: says where it listens, and serves until it is killed.
pub(crate) async fn serve_process(serving: HttpServing, server: TestServer) -> ExitCode {
    stdio::begin_process(&server).await;
    let HttpServing {
        address,
        nodelay,
        status,
        fail_first,
        bearer,
    } = serving;
    let era = server.options.era;
    let http = HttpServer::start(HttpOptions {
        server,
        era,
        address,
        nodelay,
        status,
        fail_first,
        bearer,
    })
    .await;
    println!("{}", http.url());
    std::future::pending().await
}

/// One run between a start and a stop.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    cuts: mpsc::Sender<oneshot::Sender<()>>,
    accepting: JoinSet<()>,
}

impl Running {
    fn start(listener: TcpListener, front: Arc<Front>) -> Self {
        let stop = CancellationToken::new();
        let (cuts, cut_requests) = mpsc::channel(1);
        let server = front.options.server.clone();
        let mcp = StreamableHttpService::new(
            move || Ok(server.clone()),
            LocalSessionManager::default().into(),
            StreamableHttpServerConfig::default().with_cancellation_token(stop.child_token()),
        );
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, front, mcp, stop.clone(), cut_requests));
        Self {
            stop,
            cuts,
            accepting,
        }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while self.accepting.join_next().await.is_some() {}
    }

    async fn cut(&self) {
        let (done, cut) = oneshot::channel();
        // Fails only if the accepting task is gone, and then there is nothing to cut.
        if self.cuts.send(done).await.is_ok() {
            let _ = cut.await;
        }
    }
}

/// Sessions outlive the task that accepts, unless they are told.
impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    front: Arc<Front>,
    mcp: Mcp,
    stop: CancellationToken,
    mut cuts: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(done) = cuts.recv() => {
                connections.shutdown().await;
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
            Some(_) = connections.join_next() => {}
            Ok((stream, _)) = listener.accept() => {
                front.connections.fetch_add(1, Relaxed);
                connections.spawn(serve(stream, front.clone(), mcp.clone()));
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, front: Arc<Front>, mcp: Mcp) {
    if front.options.nodelay && stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| {
        let (front, mcp) = (front.clone(), mcp.clone());
        async move { Ok::<_, Infallible>(front.answer(request, &mcp).await) }
    });
    // A client may hang up at any point; that is no error here.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// What stands before the protocol: the counters, and the reasons to turn a request away. It outlives
/// restarts.
#[derive(Debug)]
struct Front {
    options: HttpOptions,
    connections: AtomicU64,
    requests: AtomicU64,
    posts: AtomicU64,
    gets: AtomicU64,
    deletes: AtomicU64,
}

impl Front {
    fn new(mut options: HttpOptions) -> Self {
        if options.era != Era::Both {
            options.server = options.server.with_era(options.era);
        }
        Self {
            options,
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            posts: AtomicU64::new(0),
            gets: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
        }
    }

    async fn answer(&self, request: Request<Incoming>, mcp: &Mcp) -> Reply {
        let number = self.requests.fetch_add(1, Relaxed);
        match *request.method() {
            Method::POST => self.posts.fetch_add(1, Relaxed),
            Method::GET => self.gets.fetch_add(1, Relaxed),
            Method::DELETE => self.deletes.fetch_add(1, Relaxed),
            _ => 0,
        };
        if let Some(status) = self.turn_away(number, &request) {
            return reply(status);
        }
        if is_modern_ping(request.headers()) {
            self.options.server.saw_request("ping");
        }
        mcp.handle(request).await
    }

    fn turn_away(&self, number: u64, request: &Request<Incoming>) -> Option<StatusCode> {
        if let Some(status) = self.options.status {
            let status = StatusCode::from_u16(status);
            return Some(status.expect("the status is one of HTTP"));
        }
        if number < self.options.fail_first as u64 {
            return Some(StatusCode::SERVICE_UNAVAILABLE);
        }
        if let Some(token) = &self.options.bearer {
            let given = request.headers().get(header::AUTHORIZATION);
            if given.is_none_or(|given| given.as_bytes() != format!("Bearer {token}").as_bytes()) {
                return Some(StatusCode::UNAUTHORIZED);
            }
        }
        (request.uri().path() != PATH).then_some(StatusCode::NOT_FOUND)
    }
}

/// rmcp refuses a modern `ping` before it asks the handler, so it is counted here.
fn is_modern_ping(headers: &HeaderMap) -> bool {
    let is = |name: &str, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    is("mcp-method", "ping")
        && is(
            "mcp-protocol-version",
            ProtocolVersion::V_2026_07_28.as_str(),
        )
}

fn reply(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(status.to_string())).boxed());
    *reply.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        let challenge = header::HeaderValue::from_static(CHALLENGE);
        reply
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    reply
}

const PATH: &str = "/mcp";
const CHALLENGE: &str = r#"Bearer realm="mcp-testkit", error="invalid_token""#;
