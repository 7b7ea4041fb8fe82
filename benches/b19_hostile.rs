//! B19: what a hostile server costs the program that uses it: the slowest calls of a good neighbour, memory, how late a
//! deadline fires, and how long the shutdown takes. Each hostile server is met in a process of its own.

use std::{
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use mcp_pool_benches::{
    Bench, Calls, Comparison, Target, bench, echo, in_turn, peak_kib, quantile, reset_peak,
    resident_kib, this_as_server,
};
use mcp_pooled_tools::{CallOptions, ConnectionManager, PoolSettings, PooledTools};
use serde_json::json;

/// What each hostile server does, as arguments of the test server.
const SERVERS: &[(&str, &[&str])] = &[
    ("pings without end", &["--flood", "pings"]),
    ("requests for roots without end", &["--flood", "roots"]),
    ("log messages without end", &["--flood", "logs"]),
    ("forged progress without end", &["--flood", "progress"]),
    ("large messages without end", &["--flood", "large"]),
    ("messages that are large in memory", &["--flood", "heavy"]),
    ("lines that are no messages", &["--flood", "noise"]),
    ("stops reading", &["--freeze-stdin", "--ignore-eof"]),
    (
        "never answers",
        &["--hang-after-handshake", "--ignore-sigterm"],
    ),
    ("stderr without end", &["--flood-stderr", "100000000000"]),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(BESIDE) {
        let calls = arguments.next().and_then(|calls| calls.parse().ok());
        let flags: Vec<String> = arguments.collect();
        return beside(&flags, calls.expect("a number of calls"));
    }
    bench("B19", |bench| {
        let mut worst = Worst::default();
        for (name, flags) in SERVERS {
            let costs: Vec<_> = (0..bench.times(5)).map(|_| ask(bench, flags)).collect();
            worst.add(name, &costs);
        }
        worst.judge(bench);
    })
}

/// The figures of one meeting with a hostile server.
#[derive(Clone, Copy)]
struct Costs {
    /// 99th percentile of the neighbour's calls, in milliseconds.
    alone: f64,
    beside: f64,
    /// MiB more than before, at the most.
    memory: f64,
    /// Milliseconds between the deadline and the error of a call.
    lateness: f64,
    /// Milliseconds.
    shutdown: f64,
}

/// The worst of all servers, figure by figure, and the name of each.
#[derive(Default)]
struct Worst {
    p99: Option<(Comparison, &'static str)>,
    memory: (f64, &'static str),
    lateness: (f64, &'static str),
    shutdown: (f64, &'static str),
}

impl Worst {
    fn add(&mut self, name: &'static str, costs: &[Costs]) {
        let (mut beside, mut alone) = (costs.iter(), costs.iter());
        let p99 = in_turn(
            costs.len(),
            || beside.next().expect("one for each pair").beside,
            || alone.next().expect("one for each pair").alone,
        );
        let largest = |figure: fn(&Costs) -> f64| costs.iter().map(figure).fold(0.0, f64::max);
        let (memory, lateness) = (largest(|c| c.memory), largest(|c| c.lateness));
        let shutdown = largest(|c| c.shutdown);
        println!(
            "B19 {name}: p99 of the neighbour {:.2} against {:.2} ms ({:.2}), {memory:.0} MiB, \
             {lateness:.0} ms late, shutdown {shutdown:.0} ms",
            p99.measured, p99.reference, p99.ratio
        );
        if self.p99.is_none_or(|(worst, _)| p99.ratio > worst.ratio) {
            self.p99 = Some((p99, name));
        }
        let worse = |kept: &mut (f64, &'static str), figure: f64| {
            if figure > kept.0 {
                *kept = (figure, name);
            }
        };
        worse(&mut self.memory, memory);
        worse(&mut self.lateness, lateness);
        worse(&mut self.shutdown, shutdown);
    }

    fn judge(self, bench: &Bench) {
        let (p99, name) = self.p99.expect("there are hostile servers");
        let case = |name: &str| format!("worst of {}: {name}", SERVERS.len());
        let sides = ("p99 of a good server's calls beside it", "p99 alone");
        bench.judge(&case(name), sides, &p99, Target::AtMost(3.0), "ms");
        let figures = [
            ("memory for it", self.memory, "MiB", MEMORY),
            ("lateness of a deadline", self.lateness, "ms", LATENESS),
            ("shutdown", self.shutdown, "ms", SHUTDOWN),
        ];
        for (what, (value, name), unit, limit) in figures {
            bench.judge_figure(&case(name), what, value, unit, Target::AtMost(limit));
        }
    }
}

/// Meets a hostile server in a process of its own.
fn ask(bench: &Bench, flags: &[&str]) -> Costs {
    let program = std::env::current_exe().expect("a running program has a path");
    let calls = bench.times(2_000).max(100).to_string();
    let asked = Command::new(program)
        .args([BESIDE, &calls])
        .args(flags)
        .output()
        .expect("this program can be started");
    let text = String::from_utf8_lossy(&asked.stdout);
    let figures: Vec<f64> = (text.split_whitespace())
        .filter_map(|figure| figure.parse().ok())
        .collect();
    let [alone, beside, memory, lateness, shutdown] = figures[..] else {
        panic!("no figures: {asked:?}")
    };
    Costs {
        alone,
        beside,
        memory,
        lateness,
        shutdown,
    }
}

#[tokio::main]
async fn beside(flags: &[String], calls: usize) -> ExitCode {
    let hostile = this_as_server().args(flags.iter().map(String::as_str));
    // The bound on memory is for each session.
    let one_session = PoolSettings::new().min_connections(1).max_connections(1);
    let manager = ConnectionManager::builder()
        .server("good", this_as_server())
        .server("hostile", hostile.pool(one_session))
        .build()
        .await
        .expect("the settings are valid");
    let good = manager.tools("good").expect("it is there");
    p99(&good, calls / 10).await;
    let alone = p99(&good, calls).await;
    let before = resident_kib();
    reset_peak();
    let callers: Vec<_> = (0..4)
        .map(|_| tokio::spawn(call_hostile(manager.tools("hostile").expect("it is there"))))
        .collect();
    // The hostile server is at it before the neighbour is measured.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let neighbour = p99(&good, calls).await;
    let mut lateness: f64 = 0.0;
    for caller in callers {
        lateness = lateness.max(caller.await.expect("a caller does not panic"));
    }
    let memory = (peak_kib() - before) / 1024.0;
    let began = Instant::now();
    manager.shutdown().await;
    let shutdown = began.elapsed().as_secs_f64() * 1e3;
    println!("{alone} {neighbour} {memory} {lateness} {shutdown}");
    std::process::exit(0)
}

/// The 99th percentile of calls one after the other, in milliseconds.
async fn p99(tools: &PooledTools, calls: usize) -> f64 {
    let mut millis = Vec::with_capacity(calls);
    for _ in 0..calls {
        let began = Instant::now();
        Calls::call(tools, echo()).await;
        millis.push(began.elapsed().as_secs_f64() * 1e3);
    }
    quantile(&mut millis, 0.99)
}

/// Calls the hostile server again and again, each time with a limit: how late, in milliseconds, the latest end was.
async fn call_hostile(tools: PooledTools) -> f64 {
    let limit = Duration::from_millis(500);
    let message = "x".repeat(1024 * 1024);
    let mut latest: f64 = 0.0;
    for _ in 0..6 {
        let began = Instant::now();
        let params = json!({ "message": message });
        let options = CallOptions::new().timeout(limit);
        // Whether it fails is the server's business; when it ends is ours.
        let _ = tools.call_tool_with(params_of(params), options).await;
        let late = began.elapsed().saturating_sub(limit);
        latest = latest.max(late.as_secs_f64() * 1e3);
        // A refusal comes at once.
        tokio::time::sleep(limit.saturating_sub(began.elapsed())).await;
    }
    latest
}

fn params_of(arguments: serde_json::Value) -> rmcp::model::CallToolRequestParams {
    let serde_json::Value::Object(arguments) = arguments else {
        unreachable!("the literal above is an object")
    };
    rmcp::model::CallToolRequestParams::new("echo").with_arguments(arguments)
}

const BESIDE: &str = "--beside-a-hostile-server";

/// 64 MiB, and 4 times `max_message_size`.
const MEMORY: f64 = 64.0 + 4.0 * 16.0;
const LATENESS: f64 = 250.0;
/// Two steps of patience, the wait after SIGKILL, and a second for all else.
const SHUTDOWN: f64 = 6_000.0;
