//! Work to be counted by callgrind: see `callgrind.sh`.
//!
//! `instructions SUBJECT ROUNDS` does one thing so many times on one thread. Counted for two numbers of rounds, the
//! difference is what one round takes, start and end left out.

use std::{future::Future, process::ExitCode, time::Duration};

use mcp_pool_benches::{
    RawCalls, bare_in_process, bare_stdio, concurrent, echo, manager, pooled_in_process,
    sequential, this_as_server, trivial_bb8, trivial_deadpool, warm_pool,
};
use mcp_pool_core::{
    PoolOptions, RawRequest, Session,
    connect::{in_process::InProcess, stdio::Stdio},
};
use mcp_pooled_tools::{
    PoolSettings,
    metrics::{CallOutcome, Metrics},
};
use mcp_testkit::{Era, TestServer};
use serde_json::{json, value::to_raw_value};
use tokio::task::JoinSet;

fn main() -> ExitCode {
    if mcp_testkit::is_server_invocation() {
        return mcp_testkit::main();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be built").block_on(count())
}

async fn count() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (subject, rounds) = (
        arguments.next(),
        arguments.next().and_then(|n| n.parse().ok()),
    );
    let (Some(subject), Some(rounds)) = (subject, rounds) else {
        eprintln!("usage: instructions SUBJECT ROUNDS");
        return ExitCode::FAILURE;
    };
    match subject.as_str() {
        "acquire-pool" => {
            let pool = warm_pool(10, 1).await;
            alone(rounds, async || drop(pool.acquire().await)).await;
        }
        "acquire-bb8" => {
            let pool = trivial_bb8(10).await;
            alone(rounds, async || drop(pool.get().await)).await;
        }
        "acquire-deadpool" => {
            let pool = trivial_deadpool(10).await;
            alone(rounds, async || drop(pool.get().await)).await;
        }
        "contended-pool" => {
            let pool = warm_pool(10, 1).await;
            contended(
                rounds,
                &pool,
                |pool| async move { pool.acquire().await.ok() },
            )
            .await;
        }
        "contended-bb8" => {
            let pool = trivial_bb8(10).await;
            contended(
                rounds,
                &pool,
                |pool| async move { pool.get_owned().await.ok() },
            )
            .await;
        }
        "contended-deadpool" => {
            let pool = trivial_deadpool(10).await;
            contended(rounds, &pool, |pool| async move { pool.get().await.ok() }).await;
        }
        "record" => {
            let metrics = Metrics::new().server("server");
            alone(rounds, async || {
                metrics.acquired(true, Duration::ZERO);
                metrics.call(
                    "tools/call",
                    Some("echo"),
                    CallOutcome::Ok,
                    Duration::from_micros(20),
                );
            })
            .await;
        }
        "call-pooled" => {
            let tools = pooled_in_process(one_shared()).await;
            let _seconds = sequential(tools, echo(), rounds).await;
        }
        "call-bare" => {
            let _seconds = sequential(bare_in_process().await, echo(), rounds).await;
        }
        "call-raw" => {
            let _seconds = sequential(raw_in_process(), echo(), rounds).await;
        }
        "stdio-pooled" => {
            let manager = manager(this_as_server(), one_shared()).await;
            let tools = manager.tools("server").expect("it is there");
            let _seconds = sequential(tools, echo(), rounds).await;
        }
        "stdio-bare" => {
            let _seconds = sequential(bare_stdio().await, echo(), rounds).await;
        }
        "stdio-raw" => {
            let _seconds = sequential(raw_stdio(), echo(), rounds).await;
        }
        "large" => {
            let raw = raw_stdio();
            let lease = raw.0.acquire().await.expect("there is a session");
            set_many_tools(&lease).await;
            for _ in 0..rounds {
                let list = lease.request(RawRequest::new("tools/list")).await;
                assert!(list.expect("it answers").get().len() > 1_000_000);
            }
        }
        "shared-pooled" => {
            let tools = pooled_in_process(one_shared()).await;
            let _rate = concurrent(&tools, &echo(), 64, rounds / 64).await;
        }
        "shared-bare" => {
            let _rate = concurrent(&bare_in_process().await, &echo(), 64, rounds / 64).await;
        }
        "shared-raw" => {
            let _rate = concurrent(&raw_in_process(), &echo(), 64, rounds / 64).await;
        }
        other => {
            eprintln!("there is no subject `{other}`");
            return ExitCode::FAILURE;
        }
    }
    // Closing is no part of what is counted.
    std::process::exit(0)
}

fn raw_in_process() -> RawCalls {
    let server = TestServer::new().with_era(Era::Legacy);
    RawCalls::new(InProcess::new(move || server.clone()), one_session())
}

fn one_session() -> PoolOptions {
    let mut options = PoolOptions::default();
    (options.min_connections, options.max_connections) = (1, 1);
    options.max_in_flight = 64;
    options
}

fn raw_stdio() -> RawCalls {
    let program = std::env::current_exe().expect("a running program has a path");
    let server = Stdio::new(program.to_string_lossy());
    let server = server.args(["--mcp-testkit-server", "--era", "legacy"]);
    RawCalls::new(server, one_session())
}

/// Has the server list so many tools that the list takes 1.5 MB.
async fn set_many_tools(session: &Session) {
    let names: Vec<_> = (0..15_000).map(|tool| format!("tool-{tool:05}")).collect();
    let set = json!({"name": "set_tools", "arguments": {"names": names}});
    let params = to_raw_value(&set).expect("parameters are JSON");
    let set = RawRequest::new("tools/call").params(&params);
    session.request(set).await.expect("it answers");
}

/// One session for 64 callers.
fn one_shared() -> PoolSettings {
    PoolSettings::new().max_connections(1).max_in_flight(64)
}

async fn alone(rounds: usize, round: impl AsyncFn()) {
    for _ in 0..rounds {
        round().await;
    }
}

/// 64 callers for 10 places, each of which lets the others run while it has one.
async fn contended<P, T, F>(rounds: usize, pool: &P, take: impl Fn(P) -> F + Copy + Send + 'static)
where
    P: Clone + Send + 'static,
    T: Send,
    F: Future<Output = Option<T>> + Send + 'static,
{
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let pool = pool.clone();
        callers.spawn(async move {
            for _ in 0..rounds / 64 {
                let taken = take(pool.clone()).await;
                tokio::task::yield_now().await;
                drop(taken);
            }
        });
    }
    callers.join_all().await;
}
