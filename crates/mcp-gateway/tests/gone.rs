//! Clients that go without a word, or do not read: ten thousand of them leave nothing behind. What one holds that stays.
//!
//! What is held is that of the process, so each test runs alone in it.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "it/common/mod.rs"]
mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use axum::body::Body;
use common::{
    MINUTE, Served,
    load::{Caller, Load},
    raw::{Legacy, request},
};
use futures::{FutureExt as _, StreamExt as _, stream};
use http::Request;
use mcp_gateway::{Gateway, Principal};
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, ServerConfig, Sharing, core::connect::in_process::InProcess,
};
use mcp_testkit::{
    TestServer, memory,
    process::{descendants, open_fds, wait_until},
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    runtime::Handle,
    sync::Mutex,
};
use tower::ServiceExt as _;

/// Clients of the rounds: of the first, with which what is allocated once is there, and of those that are measured.
const ROUNDS: [usize; 3] = [2_000, 4_000, 4_000];
/// Clients at a time.
const AT_ONCE: usize = 32;
/// Kinds of clients: see [`client`].
const KINDS: usize = 25;

/// Tasks and descriptors of the neighbours' calls, which come and go.
const SPARE: usize = 10;
/// Bytes for each client: about one in four has a session, whose id takes some two hundred.
const REMEMBERED: usize = 64;

/// Bytes that are allocated and not freed.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// Held by the test that counts.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the process holds.
#[derive(Debug)]
#[expect(
    dead_code,
    reason = "`resident` is shown, and varies with how many sessions were live at a time"
)]
struct Held {
    allocated: usize,
    resident: usize,
    tasks: usize,
    descriptors: usize,
    processes: usize,
}

impl Held {
    fn now() -> Self {
        Self {
            allocated: ALLOCATED.load(Relaxed),
            resident: memory::resident(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            descriptors: open_fds(),
            processes: descendants(std::process::id()).len(),
        }
    }

    /// As long as nothing of `clients` is left. Of a session that has ended the id is remembered, up to a limit.
    fn is_as(&self, before: &Self, clients: usize) -> bool {
        self.allocated <= before.allocated + before.allocated / 10 + clients * REMEMBERED
            && self.has_tasks_as(before)
    }

    fn has_tasks_as(&self, before: &Self) -> bool {
        self.tasks <= before.tasks + SPARE
            && self.descriptors <= before.descriptors + SPARE
            && self.processes <= before.processes
    }
}

/// A connection of a client, and the request that was sent on it last.
struct Connection {
    stream: TcpStream,
    session: String,
}

impl Connection {
    async fn to(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Little is kept for one that does not read.
        socket.set_recv_buffer_size(4_096).unwrap();
        Self {
            stream: socket.connect(address).await.unwrap(),
            session: String::new(),
        }
    }

    /// With a session of its own.
    async fn legacy(address: SocketAddr) -> Self {
        let mut connection = Self::to(address).await;
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "gone", "version": "1" },
        });
        connection.post("", "initialize", params).await;
        let mut head = String::new();
        while !head.contains("\r\n\r\n") {
            head.push_str(&connection.read().await);
        }
        let session = head
            .lines()
            .find_map(|line| line.strip_prefix("mcp-session-id: "));
        connection.session = format!("mcp-session-id: {}\r\n", session.unwrap());
        connection
    }

    async fn post(&mut self, headers: &str, method: &str, params: Value) {
        let body = request(1, method, params).to_string();
        let session = &self.session;
        let text = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\naccept: application/json, text/event-stream\r\n\
             content-type: application/json\r\n{session}{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn call(&mut self, tool: &str, arguments: Value) {
        let params = json!({
            "name": tool, "arguments": arguments, "_meta": { "progressToken": "p" },
        });
        self.post("", "tools/call", params).await;
    }

    async fn call_as_modern(&mut self, tool: &str, arguments: Value, token: &str) {
        let headers = format!(
            "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n"
        );
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "progressToken": token,
        });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        self.post(&headers, "tools/call", params).await;
    }

    async fn read(&mut self) -> String {
        let mut bytes = [0; 2_048];
        let read = self.stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "the gateway has closed the connection");
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    /// Ends as the kernel ends the connections of a process that was killed while something was unread.
    fn kill(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// A client, of one kind of many. The calls of those that do not read are counted by `flooding`.
async fn client(address: SocketAddr, flooding: &TestServer, given_up: u64, number: usize) {
    let steps = |steps: u32, ms: u32| json!({ "steps": steps, "ms": ms });
    match number % KINDS {
        // Disconnects as soon as it is initialized.
        0..7 => drop(Connection::legacy(address).await),
        // Is killed while its stream is open, and sometimes with a server of its own.
        7..10 => {
            let mut connection = Connection::legacy(address).await;
            if number % 400 == 7 {
                connection
                    .call("own__echo", json!({ "message": "hello" }))
                    .await;
                while !connection.read().await.contains("hello") {}
            }
            let get = format!(
                "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{}\r\n",
                connection.session
            );
            connection.stream.write_all(get.as_bytes()).await.unwrap();
            while !connection.read().await.contains(": keep-alive") {}
            connection.kill();
        }
        // Disconnects in mid call, which goes on: a legacy client may come back.
        10..14 => {
            let mut connection = Connection::legacy(address).await;
            connection.call("test__progress", steps(3, 10)).await;
            while !connection.read().await.contains("\"progress\":1") {}
        }
        // Is killed in mid call, which is cancelled.
        14..19 => {
            let mut connection = Connection::to(address).await;
            let endless = steps(1_000_000, 10);
            connection
                .call_as_modern("test__progress", endless, "p")
                .await;
            while !connection.read().await.contains("\"progress\":1") {}
            connection.kill();
        }
        // Is killed before its request is written.
        19..24 => {
            let mut connection = Connection::to(address).await;
            let part = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{";
            connection.stream.write_all(part).await.unwrap();
            connection.kill();
        }
        // Never reads, and stays until the gateway has given up its call.
        _ => {
            let mut connection = Connection::to(address).await;
            let (flood, token) = (steps(1_000_000, 0), "p".repeat(128 * 1_024));
            connection
                .call_as_modern("flooding__progress", flood, &token)
                .await;
            assert!(wait_until(MINUTE, || flooding.cancelled() >= given_up).await);
        }
    }
}

/// A round of clients.
async fn clients(address: SocketAddr, flooding: &TestServer, number: usize) {
    let before = flooding.cancelled();
    // Those that do not read go in the order of their numbers.
    let client = |number: usize| {
        let given_up = before + (number / KINDS) as u64 + 1;
        client(address, flooding, given_up, number)
    };
    let clients = stream::iter(0..number).map(client);
    clients.buffer_unordered(AT_ONCE).collect::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_clients_that_go_or_do_not_read_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let (server, flooding) = (TestServer::new(), TestServer::new());
    // One connection each, so that the number of tasks does not follow the load.
    let settings = || PoolSettings::new().max_connections(1).retry_attempts(0);
    let own = settings()
        .min_connections(0)
        .max_connections(AT_ONCE as u32)
        .sharing(Sharing::Pinned);
    let in_process = |server: &TestServer| {
        let server = server.clone();
        InProcess::new(move || server.clone())
    };
    let binary = mcp_testkit::binary();
    let manager = ConnectionManager::builder()
        .connector("test", in_process(&server), settings())
        .connector("flooding", in_process(&flooding), settings())
        .server(
            "own",
            ServerConfig::stdio(binary.to_string_lossy()).pool(own),
        )
        .build()
        .await
        .unwrap();
    let gateway = Gateway::builder(manager)
        .max_sessions(2 * ROUNDS[2], 2 * ROUNDS[2])
        .session_idle_timeout(Duration::from_secs(1))
        .stream_limits(8, 256 * 1024);
    let served = Served::start(gateway).await;
    let url = served.url();
    let mut legacy = Legacy::open(&url, json!({})).await;
    // With a stream its session is not idle, however long a call waits for a processor.
    let stream = legacy.listen().await;
    let http = || Client::builder().pool_max_idle_per_host(1).build().unwrap();
    legacy.http = http();
    let neighbours = [Caller::Legacy(legacy), Caller::Modern(http(), url)];
    // Opens the connection to it.
    let hello = json!({ "message": "hello" });
    let opened = neighbours[0].call(1, "flooding__echo", hello).await;
    assert_eq!(opened["result"]["content"][0]["text"], "hello");
    let load = Load::on(&neighbours, &["test__echo"]);

    load.goes_on().await;
    let first = Held::now();
    let mut rounds = Vec::<Held>::new();
    let mut measured = 0;
    for number in ROUNDS {
        clients(served.address, &flooding, number).await;
        load.goes_on().await;
        let is_back = wait_until(MINUTE, || match rounds.first() {
            None => Held::now().has_tasks_as(&first),
            Some(before) => Held::now().is_as(before, measured + number),
        });
        let is_back = is_back.await;
        rounds.push(Held::now());
        assert!(
            is_back,
            "at first {first:?}, and after rounds of clients {rounds:?}"
        );
        measured += if rounds.len() > 1 { number } else { 0 };
    }
    println!("at first {first:?}, and after rounds of clients {rounds:?}");
    load.end().await;
    drop(stream);
    served.stop().await;
}

/// Bytes of the heap for a client that is idle, without its connection.
const IDLE: usize = 10 * 1024;

#[tokio::test]
async fn a_client_that_is_idle_with_an_open_stream_holds_a_few_kilobytes() {
    const CLIENTS: usize = 500;
    let _alone = ALONE.lock().await;
    let server = TestServer::new();
    let connector = InProcess::new(move || server.clone());
    let settings = PoolSettings::new().max_connections(1);
    let manager = ConnectionManager::builder().connector("test", connector, settings);
    let gateway = Gateway::builder(manager.build().await.unwrap());
    let gateway = gateway.max_sessions(2 * CLIENTS, 2 * CLIENTS);
    let gateway = gateway.build().unwrap();
    let router = gateway.router();
    let ask = async |request: http::request::Builder, body: String| {
        let request = request
            .header("host", "localhost")
            .extension(Principal::local());
        let request = request.body(Body::from(body)).unwrap();
        router.clone().oneshot(request).await.unwrap()
    };
    let open = async || {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "idle", "version": "1" },
        });
        let body = request(1, "initialize", params).to_string();
        let welcome = ask(Request::post("/mcp"), body).await;
        let session = welcome.headers()["mcp-session-id"].clone();
        let list = request(2, "tools/list", json!({})).to_string();
        let listed = ask(
            Request::post("/mcp").header("mcp-session-id", session.clone()),
            list,
        );
        assert_eq!(listed.await.status(), 200);
        let events = ask(
            Request::get("/mcp").header("mcp-session-id", session),
            String::new(),
        );
        let mut events = events.await.into_body().into_data_stream();
        assert!(events.next().await.is_some());
        assert!(events.next().now_or_never().is_none());
        events
    };
    // With the first ones is there what is allocated once.
    let mut clients = Vec::with_capacity(2 * CLIENTS);
    for _ in 0..CLIENTS / 10 {
        clients.push(open().await);
    }
    let before = ALLOCATED.load(Relaxed);
    for _ in 0..CLIENTS {
        clients.push(open().await);
    }
    let each = ALLOCATED.load(Relaxed).saturating_sub(before) / CLIENTS;
    println!("{each} bytes for each client");
    assert!(each <= IDLE, "{each} bytes for each client");
}
