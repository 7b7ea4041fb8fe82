//! B12: the gateway in front of a stdio server, against other gateways in front of the same server, and against the same
//! server spoken to directly over HTTP. The gateway is a process of its own.
//!
//! The others are installed and started by `benches/b12_rivals.sh`, which runs this bench with their addresses in
//! `POOL_BENCH_RIVALS`: `name=url=prefix`, where the prefix is that of the tools' names. Without them only the direct server is compared.

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use mcp_gateway::Gateway;
use mcp_pool_benches::{
    Bench, Comparison, HttpProcess, Post,
    Target::{AtLeast, AtMost},
    bench, in_turn, manager, median, quantile, this_as_server,
};
use mcp_pooled_tools::{ConnectionManager, PoolSettings, Sharing};
use mcp_testkit::process::descendants;
use serde_json::json;
use tokio::{net::TcpListener, runtime::Runtime, task::JoinSet};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(GATEWAY) {
        return serve();
    }
    bench("B12", |bench| {
        let gateway = GatewayProcess::start(None);
        let direct = HttpProcess::start(&[]);
        let mut sides = vec![
            Side::new(&bench.runtime, "gateway", &gateway.url, ""),
            Side::new(&bench.runtime, "direct", &direct.url, ""),
        ];
        for rival in std::env::var("POOL_BENCH_RIVALS")
            .unwrap_or_default()
            .split_whitespace()
        {
            let parts: Vec<_> = rival.split('=').collect();
            let [name, url, prefix] = parts[..] else {
                panic!("{rival}: a rival is `name=url=prefix`");
            };
            sides.push(Side::new(&bench.runtime, name, url, prefix));
        }
        for clients in [1, 32, 256] {
            echo(bench, &sides, clients);
        }
        large(bench, &gateway, &sides);
        slow_reader(bench, &gateway, &sides);
        idle(bench, &gateway);
        list(bench, &sides); // takes the other tools away
        cold(bench);
        known(bench);
    })
}

const GATEWAY: &str = "--gateway";

/// The gateway process: prints its address, and ends with its stdin. With a folder for its catalogue it has many servers.
fn serve() -> ExitCode {
    let runtime = Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        // A server of the older era is one process for each client unless it is known to keep no state.
        let settings = PoolSettings::new().sharing(Sharing::Multiplexed);
        let (manager, path) = match std::env::args().nth(2) {
            None => (manager(this_as_server(), settings).await, "/mcp/s/server"),
            Some(catalogue) => (many(&catalogue, settings).await, "/mcp"),
        };
        let gateway = Gateway::builder(manager).max_sessions(4_096, 4_096).build();
        let gateway = gateway.expect("the settings are valid");
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        println!("http://{address}{path}");
        let end = async {
            let mut line = String::new();
            let read = move || std::io::stdin().read_line(&mut line);
            let _ = tokio::task::spawn_blocking(read).await;
        };
        gateway.serve(listener, end).await;
    });
    ExitCode::SUCCESS
}

/// A manager of servers that are started when they are called.
async fn many(catalogue: &str, settings: PoolSettings) -> ConnectionManager {
    let settings = settings.min_connections(0);
    let builder = ConnectionManager::builder().defaults(settings);
    let mut builder = builder.catalogue(catalogue);
    for number in 0..SERVERS {
        builder = builder.server(format!("server-{number}"), this_as_server());
    }
    builder.build().await.expect("the settings are valid")
}

const SERVERS: usize = 20;

struct GatewayProcess {
    process: Child,
    url: String,
}

impl GatewayProcess {
    fn start(catalogue: Option<&Path>) -> Self {
        let program = std::env::current_exe().expect("a running program has a path");
        let mut command = Command::new(program);
        command
            .arg(GATEWAY)
            .args(catalogue)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().expect("this program can be started");
        let stdout = process.stdout.take().expect("it is piped");
        let mut url = String::new();
        let read = BufReader::new(stdout).read_line(&mut url);
        read.expect("it says where it listens");
        let url = url.trim().to_owned();
        Self { process, url }
    }

    /// Processor time so far, in milliseconds, of the gateway alone.
    fn processor_ms(&self) -> f64 {
        let path = format!("/proc/{}/task", self.process.id());
        let threads = std::fs::read_dir(path).expect("it runs");
        let nanos = threads.flatten().filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        });
        nanos.sum::<f64>() / 1e6
    }

    fn resident_kib(&self) -> f64 {
        let path = format!("/proc/{}/statm", self.process.id());
        let pages = std::fs::read_to_string(path).expect("it runs");
        let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        4.0 * pages.unwrap_or(f64::NAN)
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// One way to the echo tool.
struct Side {
    name: String,
    url: String,
    /// Of its tools' names.
    prefix: String,
    clients: RefCell<Vec<Post>>,
}

impl Side {
    fn new(runtime: &Runtime, name: &str, url: &str, prefix: &str) -> Self {
        let side = Self {
            name: name.to_owned(),
            url: url.to_owned(),
            prefix: prefix.to_owned(),
            clients: RefCell::default(),
        };
        // Opens the server's session, and the list that a gateway answers from.
        let client = side.client(runtime);
        runtime.block_on(client.request("tools/list", &json!({})));
        runtime.block_on(client.tool(&side.tool("echo"), &json!({ "message": "hello" })));
        side
    }

    fn tool(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A client of its own, initialized.
    fn client(&self, runtime: &Runtime) -> Post {
        runtime.block_on(Post::initialized(&self.url))
    }

    fn clients(&self, runtime: &Runtime, number: usize) -> Vec<Post> {
        let mut clients = self.clients.borrow_mut();
        while clients.len() < number {
            clients.push(self.client(runtime));
        }
        clients[..number].to_vec()
    }

    /// A rate, and quantiles in microseconds.
    fn load(&self, runtime: &Runtime, clients: usize, each: usize) -> Load {
        let clients = self.clients(runtime, clients);
        runtime.block_on(load(&clients, &self.tool("echo"), each))
    }

    fn is_written_in_rust(&self) -> bool {
        self.name.ends_with("-rust")
    }
}

#[derive(Clone, Copy)]
struct Load {
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Each of these clients calls one after the other.
async fn load(clients: &[Post], echo: &str, each: usize) -> Load {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for client in clients {
        let (client, echo) = (client.clone(), echo.to_owned());
        running.spawn(async move {
            let mut times = Vec::with_capacity(each);
            for _ in 0..each {
                let began = Instant::now();
                let reply = client.tool(&echo, &json!({ "message": "hello" })).await;
                times.push(began.elapsed().as_secs_f64() * 1e6);
                assert!(reply.contains("hello"), "{reply}");
            }
            times
        });
    }
    let mut times = running.join_all().await.concat();
    Load {
        rate: times.len() as f64 / began.elapsed().as_secs_f64(),
        p50: median(&mut times),
        p99: quantile(&mut times, 0.99),
    }
}

fn echo(bench: &Bench, sides: &[Side], clients: usize) {
    let most = bench.times(6_400 / clients.max(16)).max(2);
    let loads: Vec<RefCell<Vec<Load>>> = sides.iter().map(|_| RefCell::default()).collect();
    // As many calls as the side makes in about half a second: some rivals are a hundred times slower than others.
    let calls = sides.iter().map(|side| {
        let rate = side.load(&bench.runtime, clients, 4).rate;
        ((rate / 2.0) as usize / clients).clamp(2, most)
    });
    let calls: Vec<_> = calls.collect();
    for round in 0..bench.times(15).max(1) {
        for place in 0..sides.len() {
            let place = (place + round) % sides.len();
            let load = sides[place].load(&bench.runtime, clients, calls[place]);
            loads[place].borrow_mut().push(load);
        }
    }
    let of = |figure: fn(&Load) -> f64, other: usize| {
        let (gateway, other) = (loads[0].borrow(), loads[other].borrow());
        Comparison::of(gateway.iter().map(figure).zip(other.iter().map(figure)))
    };
    for (place, side) in sides.iter().enumerate().skip(1) {
        let names = ("gateway", side.name.as_str());
        let case = |what: &str| format!("echo, {clients} clients, {what} against {}", side.name);
        let (rate, p50) = match (place, side.is_written_in_rust()) {
            (1, _) => (AtLeast(0.6), None),
            (_, true) => (AtLeast(1.0), Some(AtMost(1.0))),
            (_, false) => (AtLeast(10.0), Some(AtMost(0.1))),
        };
        let measured = of(|load| load.rate, place);
        bench.judge(&case("rate"), names, &measured, rate, "calls/s");
        if let Some(target) = p50 {
            let measured = of(|load| load.p50, place);
            bench.judge(&case("p50"), names, &measured, target, "µs");
        }
    }
    if clients == 32 {
        let (gateway, direct) = (loads[0].borrow(), loads[1].borrow());
        let added = |figure: fn(&Load) -> f64| {
            let pairs = gateway.iter().zip(direct.iter());
            let mut added: Vec<_> = pairs
                .map(|(ours, direct)| figure(ours) - figure(direct))
                .collect();
            median(&mut added)
        };
        let case = "echo, 32 clients";
        bench.judge_figure(
            case,
            "p50 beyond direct",
            added(|load| load.p50),
            "µs",
            AtMost(100.0),
        );
        bench.judge_figure(
            case,
            "p99 beyond direct",
            added(|load| load.p99),
            "µs",
            AtMost(1_000.0),
        );
    }
    for (side, loads) in sides.iter().zip(&loads) {
        let mut rates: Vec<_> = loads.borrow().iter().map(|load| load.rate).collect();
        bench.point(
            "echo through a gateway",
            "calls/s",
            &side.name,
            clients,
            median(&mut rates),
        );
    }
}

/// A result of 1.5 MB: the gateway's own processor time.
fn large(bench: &Bench, gateway: &GatewayProcess, sides: &[Side]) {
    let client = &sides[0].clients(&bench.runtime, 1)[0];
    let times = bench.times(50);
    let arguments = json!({ "bytes": 1_500_000 });
    let mut costs: Vec<_> = (0..bench.times(9).max(1))
        .map(|_| {
            let before = gateway.processor_ms();
            for _ in 0..times {
                let reply = bench.runtime.block_on(client.tool("big", &arguments));
                assert!(reply.len() > 1_500_000, "{}", reply.len());
            }
            (gateway.processor_ms() - before) / times as f64
        })
        .collect();
    let cost = median(&mut costs);
    bench.judge_figure(
        "1.5 MB result",
        "processor time of the gateway",
        cost,
        "ms",
        AtMost(3.0),
    );
}

/// A list of 300 tools, with those rivals that notice that it has changed.
fn list(bench: &Bench, sides: &[Side]) {
    // For the load before, the gateway has opened several processes of the server, and each has tools of its own.
    let process = GatewayProcess::start(None);
    let gateway = Side::new(&bench.runtime, "gateway", &process.url, "");
    let listed = |side: &Side| {
        let client = &side.clients(&bench.runtime, 1)[0];
        bench
            .runtime
            .block_on(client.request("tools/list", &json!({})))
    };
    let names: Vec<_> = (0..300).map(|tool| format!("tool-{tool:03}")).collect();
    let has_changed = |side: &Side| {
        let client = &side.clients(&bench.runtime, 1)[0];
        let (set, names) = (side.tool("set_tools"), json!({ "names": names }));
        bench.runtime.block_on(client.tool(&set, &names));
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if listed(side).contains("tool-299") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        println!(
            "B12 list of 300 tools: {} does not see the change",
            side.name
        );
        false
    };
    assert!(has_changed(&gateway), "the gateway passes a change on");
    let took = |side: &Side| {
        let calls = bench.times(100);
        let began = Instant::now();
        for _ in 0..calls {
            listed(side);
        }
        began.elapsed().as_secs_f64() * 1e6 / calls as f64
    };
    for other in sides[1..].iter().filter(|side| has_changed(side)) {
        let comparison = in_turn(bench.times(15).max(1), || took(&gateway), || took(other));
        let case = format!("list of 300 tools, against {}", other.name);
        bench.judge(
            &case,
            ("gateway", &other.name),
            &comparison,
            AtMost(1.0),
            "µs",
        );
    }
}

/// The other 49 clients while one does not read what it asked for.
fn slow_reader(bench: &Bench, gateway: &GatewayProcess, sides: &[Side]) {
    let clients = sides[0].clients(&bench.runtime, 49);
    let each = bench.times(200).max(2);
    let p99 = || bench.runtime.block_on(load(&clients, "echo", each)).p99;
    let mut pairs = Vec::new();
    for _ in 0..bench.times(9).max(1) {
        let alone = p99();
        let reader = Unread::ask(&gateway.url, &sides[0].client(&bench.runtime));
        let beside = p99();
        drop(reader);
        pairs.push((beside, alone));
    }
    bench.judge(
        "49 clients beside one that does not read",
        ("p99 beside it", "p99 alone"),
        &Comparison::of(pairs),
        AtMost(1.5),
        "µs",
    );
}

/// A connection on which 16 MB were asked for, and nothing is read.
struct Unread {
    _stream: TcpStream,
}

impl Unread {
    fn ask(url: &str, client: &Post) -> Self {
        let rest = url.strip_prefix("http://").expect("it is plain HTTP");
        let (address, path) = rest.split_once('/').expect("it has a path");
        let address: SocketAddr = address.parse().expect("it is an address");
        let body = Post::body(
            "tools/call",
            &json!({"name": "big", "arguments": {"bytes": 15_000_000}}),
        );
        let session = client.session();
        let request = format!(
            "POST /{path} HTTP/1.1\r\nhost: {address}\r\naccept: application/json, text/event-stream\r\n\
             content-type: application/json\r\nmcp-session-id: {session}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        Self { _stream: stream }
    }
}

/// Memory of the gateway for each client that has initialized and is silent.
fn idle(bench: &Bench, gateway: &GatewayProcess) {
    let clients = if bench.quick { 10 } else { 1_000 };
    let connection = reqwest::Client::new();
    let open = |number: usize| {
        for _ in 0..number {
            let opened = Post::initialized_over(connection.clone(), &gateway.url);
            bench.runtime.block_on(opened);
        }
    };
    open(clients / 10);
    let before = gateway.resident_kib();
    open(clients);
    let each = (gateway.resident_kib() - before) / clients as f64;
    bench.judge_figure("idle clients", "memory of each", each, "KiB", AtMost(10.0));
}

/// The first call through a gateway that has just started: its server's start and handshake are in it.
fn cold(bench: &Bench) {
    let call = |url: &str| {
        let began = Instant::now();
        let client = bench.runtime.block_on(Post::initialized(url));
        let echo = json!({ "message": "hello" });
        bench.runtime.block_on(client.tool("echo", &echo));
        began.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<_> = (0..bench.times(21).max(1))
        .map(|_| call(&GatewayProcess::start(None).url))
        .collect();
    println!(
        "B12 first call of a fresh gateway, initialize and the server's start included: {:.1} ms",
        median(&mut times)
    );
}

/// A gateway that has just started, whose servers are known from an earlier run: `initialize`, and the first list after it.
fn known(bench: &Bench) {
    let folder = format!("mcp-pool-b12-{}", std::process::id());
    let catalogue = std::env::temp_dir().join(folder);
    let list = |client: &Post| {
        let all = json!({});
        bench.runtime.block_on(client.request("tools/list", &all))
    };
    let initialized = |gateway: &GatewayProcess| {
        let client = Post::initialized(&gateway.url);
        bench.runtime.block_on(client)
    };
    let first = GatewayProcess::start(Some(&catalogue));
    let client = initialized(&first);
    while list(&client).contains("mcp-pool/missing") {
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(first);
    let (mut initialize_ms, mut list_ms) = (Vec::new(), Vec::new());
    for _ in 0..bench.times(21).max(1) {
        let gateway = GatewayProcess::start(Some(&catalogue));
        let began = Instant::now();
        let client = initialized(&gateway);
        initialize_ms.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        let listed = list(&client);
        list_ms.push(began.elapsed().as_secs_f64() * 1e3);
        let last = format!("server-{}__echo", SERVERS - 1);
        assert!(listed.contains(&last), "every server is listed");
        let started = descendants(gateway.process.id()).len();
        assert_eq!(started, 0, "a list starts no server");
    }
    let _ = std::fs::remove_dir_all(catalogue);
    let case = format!("{SERVERS} known servers");
    let judge = |what, times: &mut [f64], limit| {
        bench.judge_figure(&case, what, median(times), "ms", AtMost(limit));
    };
    judge("initialize", &mut initialize_ms, 100.0);
    judge("first list", &mut list_ms, 5.0);
}
