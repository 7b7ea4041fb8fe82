//! B9: what a thousand unused pools hold, and what a thousand open sessions do. Each in a fresh process, from
//! the resident pages that the kernel counts.

use std::process::{Command, ExitCode};

use mcp_pool_benches::{
    Bench, Nothing, Target, bare_over_a_pipe, bench, manager_of, resident_kib, warm_pool,
};
use mcp_pooled_tools::PoolSettings;

const POOLS: &str = "--measure-pools";
const SESSIONS: &str = "--measure-sessions";
const BARE_SESSIONS: &str = "--measure-bare-sessions";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [what, size] if what.starts_with("--measure") => {
            measure(what, size.parse().expect("a size is a number"))
        }
        _ => bench("B9", judge),
    }
}

fn judge(bench: &mut Bench) {
    for size in [1, 10, 100, 1_000] {
        let per = |what| {
            let mut kib: Vec<_> = (0..bench.times(3).max(1))
                .map(|_| ask(what, size))
                .collect();
            mcp_pool_benches::median(&mut kib) / size as f64
        };
        let (pools, sessions, bare) = (per(POOLS), per(SESSIONS), per(BARE_SESSIONS));
        bench.point(
            "memory by pools",
            "KiB each",
            "pools never used",
            size,
            pools,
        );
        bench.point(
            "memory by sessions",
            "KiB each",
            "sessions of a pool",
            size,
            sessions,
        );
        bench.point(
            "memory by sessions",
            "KiB each",
            "bare rmcp sessions",
            size,
            bare,
        );
        if size == 1_000 {
            bench.judge_figure(
                "1,000 idle pools",
                "a pool never used",
                pools,
                "KiB each",
                Target::AtMost(16.0),
            );
            bench.judge_figure(
                "1,000 sessions",
                "a session with its server in the same process",
                sessions,
                "KiB each",
                Target::AtMost(48.0),
            );
        }
    }
}

/// KiB that so many of them take in a process of their own.
fn ask(what: &str, size: usize) -> f64 {
    let program = std::env::current_exe().expect("a running program has a path");
    let asked = Command::new(program)
        .args([what, &size.to_string()])
        .output();
    let output = asked.expect("this program can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("no figure: {output:?}"))
}

#[tokio::main]
async fn measure(what: &str, size: usize) -> ExitCode {
    // What the first one of its kind brings along for all is not counted.
    let first = make(what, 1).await;
    let before = resident_kib();
    let kept = make(what, size).await;
    println!("{}", resident_kib() - before);
    drop((first, kept));
    std::process::exit(0)
}

async fn make(what: &str, size: usize) -> Box<dyn std::any::Any> {
    match what {
        POOLS => {
            let manager = manager_of(size, PoolSettings::new()).await;
            let tools: Vec<_> = manager
                .servers()
                .iter()
                .map(|name| manager.tools(name))
                .collect();
            Box::new((manager, tools))
        }
        SESSIONS => Box::new(warm_pool(size as u32, 16).await),
        BARE_SESSIONS => {
            let mut sessions = Vec::new();
            for _ in 0..size {
                sessions.push(bare_over_a_pipe(Nothing).await);
            }
            Box::new(sessions)
        }
        other => panic!("there is no `{other}` to measure"),
    }
}
