//! B14: what it costs calls to be watched: by a hundred readers of the event stream, half of which never read, and by a
//! thousand scrapes, every other one for Prometheus, over a connection that is kept, as Prometheus keeps its own. The
//! watchers are a process of their own, which takes its share of the processors like any other.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use mcp_admin::Admin;
use mcp_pool_benches::{Target, bench, concurrent, echo, in_turn, manager, this_as_server};
use mcp_pooled_tools::PoolSettings;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(WATCHERS) {
        let address = arguments.next().expect("the address to watch");
        return watch(address.parse().expect("an address"));
    }
    bench("B14", |bench| {
        let runtime = &bench.runtime;
        let (tools, bound) = runtime.block_on(async {
            let manager = manager(this_as_server(), PoolSettings::new()).await;
            let tools = manager.tools("server").expect("it is there");
            let admin = Admin::new(manager).address("127.0.0.1:0");
            (tools, admin.bind().await.expect("loopback can be bound"))
        });
        let address = bound.local_addr();
        let serving = runtime.spawn(bound.serve(std::future::pending()));
        let mut watchers = Watchers::start(address);
        for (case, callers) in [("one caller", 1), ("64 callers", 64)] {
            // Without watchers for as long as a block with them takes.
            let calls = {
                let trial = bench.times(1_000);
                let rate = runtime.block_on(concurrent(&tools, &echo(), callers, trial));
                bench.times((rate * BLOCK.as_secs_f64()) as usize / callers)
            };
            let rate = || runtime.block_on(concurrent(&tools, &echo(), callers, calls));
            let watched = || {
                watchers.begin();
                let rate = rate();
                watchers.end();
                rate
            };
            let comparison = in_turn(bench.times(48), watched, rate);
            let sides = ("calls while watched", "calls while not watched");
            bench.judge(case, sides, &comparison, Target::AtLeast(0.98), "calls/s");
        }
        drop(watchers);
        serving.abort();
    })
}

/// The process that watches.
struct Watchers {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Watchers {
    fn start(address: SocketAddr) -> Self {
        let mut process =
            Command::new(std::env::current_exe().expect("a running program has a path"))
                .args([WATCHERS, &address.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("this program can be started");
        Self {
            orders: process.stdin.take().expect("it is piped"),
            answers: BufReader::new(process.stdout.take().expect("it is piped")),
            process,
        }
    }

    /// They watch when this returns.
    fn begin(&mut self) {
        self.order("watch");
    }

    /// They do not when this returns.
    fn end(&mut self) {
        self.order("stop");
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it reads");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("it answers");
        assert_eq!(answer.trim(), order, "the watchers failed");
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn watch(address: SocketAddr) -> ExitCode {
    let orders = std::io::stdin().lines();
    let mut watching = None;
    for order in orders {
        let order = order.expect("text");
        match order.as_str() {
            "watch" => watching = Some(Watching::start(address)),
            _ => {
                if let Some(watching) = watching.take() {
                    watching.end();
                }
                // The server has to notice that a hundred streams have gone: that is no part of the other side.
                thread::sleep(Duration::from_millis(300));
            }
        }
        println!("{order}");
    }
    ExitCode::SUCCESS
}

/// A hundred streams, and a thread that scrapes.
struct Watching {
    streams: Vec<TcpStream>,
    readers: Vec<thread::JoinHandle<()>>,
    stop: std::sync::mpsc::Sender<()>,
    scraper: thread::JoinHandle<()>,
}

impl Watching {
    fn start(address: SocketAddr) -> Self {
        let mut streams = Vec::new();
        let mut readers = Vec::new();
        for number in 0..STREAMS {
            let mut stream = ask(address, "/api/v1/mcp/events?snapshots=true");
            let mut first = [0];
            stream.read_exact(&mut first).expect("it is answered");
            let mut reading = stream.try_clone().expect("a descriptor");
            streams.push(stream);
            if number % 2 == 0 {
                readers.push(thread::spawn(move || {
                    let mut buffer = [0; 16 * 1024];
                    while reading.read(&mut buffer).is_ok_and(|read| read > 0) {}
                }));
            }
        }
        // Each is shown everything once at the beginning: what is measured is what comes after.
        thread::sleep(Duration::from_millis(200));
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let scraper = thread::spawn(move || {
            let mut connection = BufReader::new(TcpStream::connect(address).expect("it listens"));
            let mut next = Instant::now();
            for number in 0.. {
                scrape(
                    &mut connection,
                    ["/metrics", "/api/v1/mcp/metrics/summary"][number % 2],
                );
                next += BETWEEN_SCRAPES;
                let pause = next.saturating_duration_since(Instant::now());
                if stopped.recv_timeout(pause) != Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self {
            streams,
            readers,
            stop,
            scraper,
        }
    }

    fn end(self) {
        drop(self.stop);
        self.scraper.join().expect("scrapes succeed");
        for stream in self.streams {
            stream
                .shutdown(std::net::Shutdown::Both)
                .expect("it is open");
        }
        for reader in self.readers {
            reader.join().expect("readers only read");
        }
    }
}

fn scrape(connection: &mut BufReader<TcpStream>, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let stream = connection.get_mut();
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        connection.read_line(&mut line).expect("it is answered");
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().expect("a number");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    assert!(length > 0, "a scrape failed");
    let mut body = vec![0; length];
    connection.read_exact(&mut body).expect("it is whole");
}

fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    stream
}

const WATCHERS: &str = "--watchers";
const STREAMS: usize = 100;
const BETWEEN_SCRAPES: Duration = Duration::from_millis(48);

/// How long calls are made at a stretch: 48 of them are a thousand scrapes.
const BLOCK: Duration = Duration::from_secs(1);
