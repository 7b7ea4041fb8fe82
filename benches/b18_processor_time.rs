//! B18: what a call costs on the client's side: processor time and wall time, one caller and 64, over stdio and HTTP.
//!
//! Three sides in turn. "raw" is a lease of the pool and a raw request on its session, "facade" is `PooledTools`, "bare" is
//! one rmcp session. The floor is the smallest client there can be: it writes a line, reads a line and looks for the id. It
//! is not a rival, but says how much is left.
//!
//! The server is a process of its own, so that the processor time of this one is the client's.

use std::{
    cell::RefCell,
    process::{ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_pool_benches::{
    Bench, Calls, Comparison, HttpProcess, Post, RawCalls, Target, bare_kept_alive, bare_stdio,
    bench, concurrent, echo, manager, own_processor_time, sequential, servers_processor_time,
    this_as_server,
};
use mcp_pool_core::{
    PoolOptions, RawRequest,
    connect::{http::Http, stdio::Stdio as StdioConnector},
    rmcp::model::CallToolRequestParams,
};
use mcp_pooled_tools::{Lifecycle, PoolSettings, PooledTools, ServerConfig};
use serde_json::{Value, json, value::to_raw_value};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

const MANY: usize = 64;

fn main() -> ExitCode {
    bench("B18", |bench| {
        stdio(bench);
        http(bench);
        large(bench);
    })
}

fn stdio(bench: &Bench) {
    let runtime = &bench.runtime;
    let _entered = runtime.enter();
    let raw = RawCalls::new(StdioConnector::new(this_program()).args(SERVER), options());
    let manager = runtime.block_on(manager(this_as_server(), settings()));
    let facade = manager.tools("server").expect("it is there");
    let bare = runtime.block_on(bare_stdio());
    let floor = Arc::new(Floor::start());
    let (one, many) = (bench.times(400), bench.times(60));
    let sides: [Side<'_>; 4] = [
        ("raw", side(runtime, &raw, one, many)),
        ("facade", side(runtime, &facade, one, many)),
        ("bare", side(runtime, &bare, one, many)),
        (
            "floor",
            Box::new(move |callers| floor.run(runtime, callers, one, many)),
        ),
    ];
    let goals = Goals {
        processor: 0.5,
        wall: Some(0.7),
        rate: Some(1.5),
    };
    compare(bench, "stdio", &sides, &goals);
    runtime.block_on(manager.shutdown());
}

fn http(bench: &Bench) {
    let runtime = &bench.runtime;
    let _entered = runtime.enter();
    let server = HttpProcess::start(&["--json"]);
    let raw = RawCalls::new(Http::new(&server.url).expect("it is a URL"), options());
    let manager = runtime.block_on(manager(ServerConfig::http(&server.url), settings()));
    let facade: PooledTools = manager.tools("server").expect("it is there");
    let bare = runtime.block_on(bare_kept_alive(&server.url, 2 * MANY));
    let floor = HttpFloor(runtime.block_on(Post::initialized(&server.url)));
    let (one, many) = (bench.times(200), bench.times(30));
    let sides: [Side<'_>; 4] = [
        ("raw", side(runtime, &raw, one, many)),
        ("facade", side(runtime, &facade, one, many)),
        ("bare", side(runtime, &bare, one, many)),
        ("floor", side(runtime, &floor, one, many)),
    ];
    let goals = Goals {
        processor: 0.8,
        wall: None,
        rate: None,
    };
    compare(bench, "HTTP", &sides, &goals);
    runtime.block_on(manager.shutdown());
}

/// A result of 1.5 MB, a list of many small parts, which is passed on as it is.
fn large(bench: &Bench) {
    const TOOLS: usize = 15_000;
    let runtime = &bench.runtime;
    let _entered = runtime.enter();
    let raw = RawCalls::new(StdioConnector::new(this_program()).args(SERVER), options());
    let floor = Floor::start();
    let names: Vec<_> = (0..TOOLS).map(|tool| format!("tool-{tool:05}")).collect();
    let arguments = json!({"name": "set_tools", "arguments": {"names": names}});
    let lease = runtime
        .block_on(raw.0.acquire())
        .expect("there is a session");
    let params = to_raw_value(&arguments).expect("parameters are JSON");
    let set = RawRequest::new("tools/call").params(&params);
    runtime.block_on(lease.request(set)).expect("it answers");
    runtime.block_on(floor.ask("tools/call", &arguments));
    let times = bench.times(10);
    let list = || async {
        for _ in 0..times {
            let listed = lease.request(RawRequest::new("tools/list")).await;
            let listed = listed.expect("it answers");
            assert!(listed.get().len() > 1_000_000, "{}", listed.get().len());
        }
    };
    let of_floor = || async {
        for _ in 0..times {
            floor.ask("tools/list", &json!({})).await;
        }
    };
    let pairs = (0..bench.times(21)).map(|_| {
        let raw = cost(times, || runtime.block_on(list())).processor;
        (raw, cost(times, || runtime.block_on(of_floor())).processor)
    });
    let pairs: Vec<_> = pairs.collect();
    let mut more: Vec<_> = pairs
        .iter()
        .map(|(raw, floor)| (raw - floor) / 1e3)
        .collect();
    let what = "a raw request beyond the floor, processor time";
    let more = mcp_pool_benches::median(&mut more);
    bench.judge_figure(
        "stdio, 1.5 MB result",
        what,
        more,
        "ms",
        Target::AtMost(3.0),
    );
}

struct Goals {
    processor: f64,
    wall: Option<f64>,
    rate: Option<f64>,
}

/// What a number of calls took for each, in microseconds.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    processor: f64,
    /// Of the servers, which share the machine.
    servers: f64,
}

/// A name, and calls by so many callers.
type Side<'a> = (&'static str, Box<dyn Fn(usize) -> Cost + 'a>);

fn compare(bench: &Bench, transport: &str, sides: &[Side<'_>; 4], goals: &Goals) {
    for callers in [1, MANY] {
        let costs: [RefCell<Vec<Cost>>; 4] = Default::default();
        for (_, calls) in sides {
            // The first calls open the session, and the pool grows to what this load takes.
            calls(callers);
        }
        for round in 0..bench.times(61).max(1) {
            for place in 0..sides.len() {
                let place = (place + round) % sides.len();
                costs[place].borrow_mut().push(sides[place].1(callers));
            }
        }
        let of = |side: usize, against: usize, figure: fn(&Cost) -> f64| {
            let (side, against) = (costs[side].borrow(), costs[against].borrow());
            Comparison::of(side.iter().map(figure).zip(against.iter().map(figure)))
        };
        let (bare, floor) = (2, 3);
        for (place, name) in [(0, "raw request on a lease"), (1, "PooledTools")] {
            let case =
                |what: &str| format!("{transport}, {callers} callers, {}, {what}", sides[place].0);
            let sides = (name, "one bare rmcp session");
            let processor = of(place, bare, |cost| cost.processor);
            let goal = Target::AtMost(goals.processor);
            bench.judge(&case("processor time"), sides, &processor, goal, "µs");
            if let (1, Some(wall)) = (callers, goals.wall) {
                let measured = of(place, bare, |cost| cost.wall);
                bench.judge(
                    &case("wall time"),
                    sides,
                    &measured,
                    Target::AtMost(wall),
                    "µs",
                );
            }
            if let (MANY, Some(rate)) = (callers, goals.rate) {
                let measured = of(place, bare, |cost| 1e6 / cost.wall);
                bench.judge(
                    &case("rate"),
                    sides,
                    &measured,
                    Target::AtLeast(rate),
                    "calls/s",
                );
            }
            let distance = of(place, floor, |cost| cost.processor);
            println!(
                "B18 {}: {:.2} x the floor's {:.1} µs",
                case("processor time"),
                distance.ratio,
                distance.reference
            );
        }
        type Figure = (&'static str, fn(&Cost) -> f64);
        let figures: [Figure; 3] = [
            ("processor time of a call", |cost| cost.processor),
            ("processor time of the server for a call", |cost| {
                cost.servers
            }),
            ("wall time of a call", |cost| cost.wall),
        ];
        for (place, (name, _)) in sides.iter().enumerate() {
            for (what, figure) in figures {
                let own = of(place, place, figure).measured;
                bench.point(&format!("{what}, {transport}"), "µs", name, callers, own);
            }
        }
    }
}

fn side<'a>(
    runtime: &'a tokio::runtime::Runtime,
    calls: &(impl Calls + 'a),
    one: usize,
    many: usize,
) -> Box<dyn Fn(usize) -> Cost + 'a> {
    let calls = calls.clone();
    Box::new(move |callers| {
        let calls = calls.clone();
        match callers {
            1 => cost(one, || runtime.block_on(sequential(calls, echo(), one))),
            _ => cost(callers * many, || {
                runtime.block_on(concurrent(&calls, &echo(), callers, many))
            }),
        }
    })
}

/// What each of so many calls costs.
fn cost<T>(calls: usize, run: impl FnOnce() -> T) -> Cost {
    let servers = servers_processor_time();
    let (began, before) = (Instant::now(), own_processor_time());
    run();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / calls as f64;
    let (wall, after) = (began.elapsed(), own_processor_time());
    Cost {
        wall: each(wall),
        processor: each(after.saturating_sub(before)),
        servers: each(servers_processor_time().saturating_sub(servers)),
    }
}

fn this_program() -> String {
    let program = std::env::current_exe().expect("a running program has a path");
    program.to_string_lossy().into_owned()
}

const SERVER: [&str; 3] = ["--mcp-testkit-server", "--era", "legacy"];

/// As rmcp's client does by default: both sides speak the same era.
fn settings() -> PoolSettings {
    PoolSettings::new()
        .lifecycle(Lifecycle::Initialize)
        .max_waiters(2_000)
}

fn options() -> PoolOptions {
    let mut options = PoolOptions::default();
    options.max_waiters = 2_000;
    options
}

/// Writes lines, reads lines, and looks for the id.
struct Floor {
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    next: AtomicU64,
    _process: Child,
}

impl Floor {
    fn start() -> Self {
        let mut command = Command::new(this_program());
        command
            .args(SERVER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command
            .kill_on_drop(true)
            .spawn()
            .expect("this program can be started");
        let stdin = process.stdin.take().expect("it is piped");
        let stdout = process.stdout.take().expect("it is piped");
        let floor = Self {
            pipes: Mutex::new((stdin, BufReader::new(stdout))),
            next: AtomicU64::new(1),
            _process: process,
        };
        tokio::runtime::Handle::current().block_on(floor.shake_hands());
        floor
    }

    async fn shake_hands(&self) {
        let mut pipes = self.pipes.lock().await;
        let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"floor","version":"1"}}}"#;
        pipes
            .0
            .write_all(format!("{initialize}\n").as_bytes())
            .await
            .expect("it reads");
        let mut line = String::new();
        pipes.1.read_line(&mut line).await.expect("it answers");
        let initialized = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
        pipes.0.write_all(initialized).await.expect("it reads");
    }

    async fn ask(&self, method: &str, params: &Value) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let mut pipes = self.pipes.lock().await;
        let written = pipes.0.write_all(format!("{request}\n").as_bytes()).await;
        written.expect("it reads");
        let mut line = Vec::new();
        // A change of the list may be announced before.
        while find_id(&line) != Some(id) {
            line.clear();
            let read = pipes.1.read_until(b'\n', &mut line).await;
            assert_ne!(read.expect("it answers"), 0);
        }
    }

    fn run(
        self: &Arc<Self>,
        runtime: &tokio::runtime::Runtime,
        callers: usize,
        one: usize,
        many: usize,
    ) -> Cost {
        let calls = if callers == 1 { one } else { callers * many };
        let floor = Arc::clone(self);
        cost(calls, || {
            let task = runtime.spawn(async move { floor.calls(callers, calls).await });
            runtime.block_on(task).expect("it does not panic");
        })
    }

    /// So many calls, of which `at_once` are under way.
    async fn calls(&self, at_once: usize, calls: usize) {
        let mut pipes = self.pipes.lock().await;
        let (stdin, stdout) = &mut *pipes;
        let request = || {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"message\":\"hello\"}}}}}}\n"
            )
        };
        let mut requests = String::new();
        for _ in 0..at_once {
            requests.push_str(&request());
        }
        stdin
            .write_all(requests.as_bytes())
            .await
            .expect("it reads");
        let (mut sent, mut line) = (at_once, Vec::new());
        for _ in 0..calls {
            line.clear();
            stdout
                .read_until(b'\n', &mut line)
                .await
                .expect("it answers");
            assert!(
                find_id(&line).is_some(),
                "{}",
                String::from_utf8_lossy(&line)
            );
            if sent < calls {
                stdin
                    .write_all(request().as_bytes())
                    .await
                    .expect("it reads");
                sent += 1;
            }
        }
    }
}

fn find_id(line: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(line).ok()?;
    let rest = &text[text.find("\"id\":")? + 5..];
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}

/// Posts bodies, reads bodies, and looks for the id.
#[derive(Clone)]
struct HttpFloor(Post);

impl Calls for HttpFloor {
    async fn call(&self, _: CallToolRequestParams) {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"hello"}}}"#;
        let response = self.0.send(body).await;
        let body = response.bytes().await.expect("it answers");
        assert!(
            find_id(&body).is_some(),
            "{}",
            String::from_utf8_lossy(&body)
        );
    }
}
