//! What is compared: bare sessions of rmcp, and tools over a pool.

use std::{
    future::Future,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use mcp_pool_core::{
    Connector, EraMemory, Handshake, LifecycleMode, PoolOptions, RawRequest, SessionHandler,
    SessionPool, client_info, connect::in_process::InProcess,
};
use mcp_pooled_tools::{ConnectionManager, DirectTools, PoolSettings, PooledTools, ServerConfig};
use mcp_testkit::{Era, TestServer};
use rmcp::{
    RoleClient, ServerHandler, ServiceExt,
    model::{CallToolRequestParams, CallToolResult},
    service::RunningService,
    transport::{
        StreamableHttpClientTransport, TokioChildProcess,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{json, value::to_raw_value};
use tokio::{process::Command, task::JoinSet};

/// One session of the plain client, as many share it.
pub type Bare = Arc<RunningService<RoleClient, ()>>;

/// Whatever calls tools. Not `dyn Tools`: its boxed future would be paid by both sides and hide a part of the
/// difference.
pub trait Calls: Clone + Send + Sync + 'static {
    /// # Panics
    /// If the call fails: a bench has no use for it then.
    fn call(&self, params: CallToolRequestParams) -> impl Future<Output = ()> + Send;
}

impl Calls for Bare {
    async fn call(&self, params: CallToolRequestParams) {
        done(self.call_tool(params).await);
    }
}

impl Calls for PooledTools {
    async fn call(&self, params: CallToolRequestParams) {
        done(self.call_tool(params).await);
    }
}

/// Raw requests on leases of a pool.
#[derive(Clone, Debug)]
pub struct RawCalls(pub SessionPool);

impl RawCalls {
    /// On a pool of this server, as rmcp's client shakes hands by default.
    pub fn new(connector: impl Connector, options: PoolOptions) -> Self {
        let handler = SessionHandler::new(client_info());
        let handshake = Handshake::new(LifecycleMode::Initialize, EraMemory::default(), handler);
        let pool = SessionPool::builder("server", connector).handshake(handshake);
        let pool = pool.options(options).build();
        Self(pool.expect("the options are valid"))
    }
}

impl Calls for RawCalls {
    async fn call(&self, params: CallToolRequestParams) {
        let params = to_raw_value(&params).expect("parameters are JSON");
        let lease = self.0.acquire().await.expect("there is a session");
        let guard = lease.begin_call(None);
        let request = RawRequest::new("tools/call").params(&params);
        let result = lease.session().request(request).await;
        let result = result.expect("the server answers");
        guard.answered();
        assert!(result.get().contains("hello"), "{result}");
    }
}

impl Calls for DirectTools {
    async fn call(&self, params: CallToolRequestParams) {
        done(self.call_tool(params).await);
    }
}

fn done<E: std::fmt::Display>(outcome: Result<CallToolResult, E>) {
    match outcome {
        Ok(result) => assert_ne!(result.is_error, Some(true), "the tool failed: {result:?}"),
        Err(error) => panic!("the call failed: {error}"),
    }
}

/// A call of `echo`.
pub fn echo() -> CallToolRequestParams {
    with("echo", json!({ "message": "hello" }))
}

/// A call of a tool that takes ten milliseconds.
pub fn sleep_10_ms() -> CallToolRequestParams {
    with("sleep", json!({ "ms": 10 }))
}

fn with(tool: &'static str, arguments: serde_json::Value) -> CallToolRequestParams {
    let serde_json::Value::Object(arguments) = arguments else {
        unreachable!("the literals above are objects")
    };
    CallToolRequestParams::new(tool).with_arguments(arguments)
}

/// This program as a server over stdin and stdout. It speaks the older of the two eras, as nearly all servers do, so
/// that the plain client and the pool meet it in the same way.
pub fn this_as_server() -> ServerConfig {
    ServerConfig::stdio(this_program().to_string_lossy()).args(SERVER)
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("a running program has a path")
}

const SERVER: [&str; 3] = ["--mcp-testkit-server", "--era", "legacy"];

/// A manager of one server, named `server`.
pub async fn manager(server: ServerConfig, settings: PoolSettings) -> ConnectionManager {
    let builder = ConnectionManager::builder().server("server", server.pool(settings));
    builder.build().await.expect("the settings are valid")
}

/// A manager of so many servers.
pub async fn manager_of(servers: usize, settings: PoolSettings) -> ConnectionManager {
    let mut builder = ConnectionManager::builder().defaults(settings);
    for number in 0..servers {
        builder = builder.server(format!("server-{number}"), this_as_server());
    }
    builder.build().await.expect("the settings are valid")
}

/// Tools of a server in this process, over a pool.
pub async fn pooled_in_process(settings: PoolSettings) -> PooledTools {
    let server = TestServer::new().with_era(Era::Legacy);
    let connector = InProcess::new(move || server.clone());
    let manager = ConnectionManager::builder().connector("server", connector, settings);
    let manager = manager.build().await.expect("the settings are valid");
    manager.tools("server").expect("it is there")
}

/// The plain client over HTTP, with a client of its own that keeps its connections: for so many requests at once.
pub async fn bare_kept_alive(url: &str, at_once: usize) -> Bare {
    let client = reqwest::Client::builder().tcp_nodelay(true).build();
    let transport = StreamableHttpClientTransport::with_client(
        client.expect("a client can be made"),
        StreamableHttpClientTransportConfig::with_uri(url).max_concurrent_requests(at_once),
    );
    Arc::new(().serve(transport).await.expect("it answers"))
}

/// The plain client over a process of this program.
pub async fn bare_stdio() -> Bare {
    let mut command = Command::new(this_program());
    command.args(SERVER);
    let transport = TokioChildProcess::new(command).expect("this program can be started");
    Arc::new(().serve(transport).await.expect("it answers"))
}

/// The plain client over a pipe to a server in this process.
pub async fn bare_in_process() -> Bare {
    bare_over_a_pipe(TestServer::new().with_era(Era::Legacy)).await
}

/// The plain client over a pipe to this server.
pub async fn bare_over_a_pipe(server: impl ServerHandler) -> Bare {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let running = server.serve(theirs).await.expect("it is asked properly");
        running.waiting().await
    });
    Arc::new(().serve(ours).await.expect("it answers"))
}

/// Calls one after the other: seconds for each.
pub async fn sequential(tools: impl Calls, params: CallToolRequestParams, calls: usize) -> f64 {
    // In a task, as in a server or an agent: `block_on` would put a thread of its own in between.
    let task = tokio::spawn(async move {
        let began = Instant::now();
        for _ in 0..calls {
            tools.call(params.clone()).await;
        }
        began.elapsed().as_secs_f64() / calls as f64
    });
    task.await.expect("a failed call ends the bench")
}

/// So many callers, each calling one after the other: calls per second.
pub async fn concurrent(
    tools: &impl Calls,
    params: &CallToolRequestParams,
    callers: usize,
    calls_each: usize,
) -> f64 {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for _ in 0..callers {
        let (tools, params) = (tools.clone(), params.clone());
        running.spawn(async move {
            for _ in 0..calls_each {
                tools.call(params.clone()).await;
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("a failed call ends the bench");
    }
    (callers * calls_each) as f64 / began.elapsed().as_secs_f64()
}

/// This program as a server over HTTP, in a process that ends with this value.
pub struct HttpProcess {
    process: Child,
    pub url: String,
}

impl HttpProcess {
    pub fn start(flags: &[&str]) -> Self {
        let mut command = std::process::Command::new(this_program());
        command.args(SERVER).arg("--http").args(flags);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = started.expect("this program can be started");
        let stdout = process.stdout.take().expect("it is piped");
        let mut url = String::new();
        let read = BufReader::new(stdout).read_line(&mut url);
        read.expect("it says where it listens");
        Self {
            process,
            url: url.trim().to_owned(),
        }
    }
}

impl Drop for HttpProcess {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server that takes its time to start, as most do: the reference server by node if its path is given, else this
/// program with a pause before it answers.
pub struct Everything {
    pub server: ServerConfig,
    pub name: &'static str,
}

impl Everything {
    pub fn find() -> Self {
        match std::env::var("POOL_BENCH_EVERYTHING") {
            Ok(path) => Self {
                server: ServerConfig::stdio("node").arg(path),
                name: "server-everything by node",
            },
            Err(_) => Self {
                server: this_as_server().args(["--slow-start", "300"]),
                name: "a stand-in that takes 300 ms to start",
            },
        }
    }

    /// A manager of it, patient enough for a busy machine.
    pub async fn manager(&self) -> ConnectionManager {
        let settings = PoolSettings::new().connection_timeout(Duration::from_secs(60));
        manager(self.server.clone(), settings).await
    }
}
