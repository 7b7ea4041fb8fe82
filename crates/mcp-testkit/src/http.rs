//! The server over streamable HTTP.
//!
//! hyper is used directly, without a web framework, because many faults are those of connections: their number, Nagle delays,
//! and a cut of all at once.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    process::ExitCode,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Era, HttpServing, TestServer,
    http_faults::{HttpFaults, Mcp, PATH},
    stdio,
};

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
    /// Answer with plain JSON where one message is the whole reply, and keep no session, as servers behind load
    /// balancers do; otherwise every reply is an event stream.
    pub json: bool,
    /// Look at the token of tool calls alone, so that sessions open without. Modern clients only: they name the method
    /// in a header.
    pub bearer_for_calls_only: bool,
}

/// A server listening on a port of this machine.
#[derive(Debug)]
pub struct HttpServer {
    faults: Arc<HttpFaults>,
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
        let faults = Arc::new(HttpFaults::new(options));
        let listener = TcpListener::bind(faults.options.address).await;
        let listener = listener.expect("the address to listen on is free");
        let address = listener.local_addr().expect("a listener has an address");
        Self {
            running: Some(Running::start(listener, faults.clone())),
            faults,
            address,
        }
    }

    /// [Starts](Self::start) a server that takes one bearer token.
    pub async fn with_token(era: Era, token: &str) -> Self {
        Self::start(HttpOptions {
            era,
            bearer: Some(token.into()),
            ..HttpOptions::default()
        })
        .await
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
    /// Another program has taken the port and keeps it.
    pub async fn restart(&mut self) {
        self.stop().await;
        // A connection of another test may have it for a moment.
        let bound = tokio::time::timeout(PORT_TIMEOUT, async {
            loop {
                match TcpListener::bind(self.address).await {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    bound => return bound,
                }
            }
        });
        let listener = bound.await.expect("the port of the last run becomes free");
        let listener = listener.expect("the port of the last run can be bound");
        self.running = Some(Running::start(listener, self.faults.clone()));
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
        &self.faults.options.server
    }

    /// From now on, answers 401 to requests without this bearer token, and takes no other.
    pub fn accept_only(&self, token: impl Into<String>) {
        *self.faults.bearer.lock() = Some(token.into());
    }

    /// From now on, answers every request with this status, or none again.
    pub fn answer_with(&self, status: Option<u16>) {
        *self.faults.status.lock() = status;
    }

    /// Requests answered with 401.
    pub fn unauthorized(&self) -> u64 {
        self.faults.unauthorized.load(Relaxed)
    }

    /// TCP connections accepted.
    pub fn connections(&self) -> u64 {
        self.faults.connections.load(Relaxed)
    }

    /// HTTP requests of any method, answered or turned away.
    pub fn requests(&self) -> u64 {
        self.faults.requests.load(Relaxed)
    }

    /// POST requests.
    pub fn posts(&self) -> u64 {
        self.faults.posts.load(Relaxed)
    }

    /// GET requests: legacy clients opening the stream for server messages.
    pub fn gets(&self) -> u64 {
        self.faults.gets.load(Relaxed)
    }

    /// DELETE requests: sessions ended by their client.
    pub fn deletes(&self) -> u64 {
        self.faults.deletes.load(Relaxed)
    }
}

impl HttpOptions {
    fn of(serving: HttpServing, server: TestServer) -> Self {
        Self {
            era: Era::default(),
            server,
            address: serving.address,
            nodelay: serving.nodelay,
            status: serving.status,
            fail_first: serving.fail_first,
            bearer: serving.bearer,
            json: serving.json,
            bearer_for_calls_only: false,
        }
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self::of(HttpServing::default(), TestServer::new())
    }
}

/// The binary's HTTP mode: says where it listens, and serves until it is killed.
pub(crate) async fn serve_process(serving: HttpServing, server: TestServer) -> ExitCode {
    stdio::begin_process(&server).await;
    let http = HttpServer::start(HttpOptions::of(serving, server)).await;
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
    fn start(listener: TcpListener, faults: Arc<HttpFaults>) -> Self {
        let stop = CancellationToken::new();
        let (cuts, cut_requests) = mpsc::channel(1);
        let server = faults.options.server.clone();
        let mcp = StreamableHttpService::new(
            move || Ok(server.clone()),
            LocalSessionManager::default().into(),
            StreamableHttpServerConfig::default()
                .with_legacy_session_mode(!faults.options.json)
                .with_json_response(faults.options.json)
                .with_cancellation_token(stop.child_token()),
        );
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, faults, mcp, stop.clone(), cut_requests));
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

/// Sessions outlive the task that accepts, unless they are cancelled.
impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    faults: Arc<HttpFaults>,
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
                // The caller may have stopped waiting.
                let _ = done.send(());
            }
            Some(_) = connections.join_next() => {}
            Ok((stream, _)) = listener.accept() => {
                faults.connections.fetch_add(1, Relaxed);
                connections.spawn(serve(stream, faults.clone(), mcp.clone()));
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, faults: Arc<HttpFaults>, mcp: Mcp) {
    if faults.options.nodelay && stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| {
        let (faults, mcp) = (faults.clone(), mcp.clone());
        async move { Ok::<_, Infallible>(faults.answer(request, &mcp).await) }
    });
    // A client may hang up at any point; that is no error here.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

const PORT_TIMEOUT: Duration = Duration::from_secs(10);
