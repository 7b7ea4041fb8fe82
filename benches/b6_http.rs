//! B6: calls over streamable HTTP, with our kept connections and with rmcp's default client, which keeps none; to a
//! server that sets TCP_NODELAY, and to one that does not and would stall a client whose acknowledgements are delayed.
//!
//! A server may answer with an event stream, in which a priming event comes before each reply, or with plain JSON: the
//! less a call costs beside its connection, the more a kept one gains.

use std::{process::ExitCode, sync::Arc};

use mcp_pool_benches::{
    Bare, Bench, Calls, HttpProcess, Target, bench, echo, in_turn, manager, sequential,
};
use mcp_pooled_tools::{Lifecycle, PoolSettings, PooledTools, ServerConfig};
use rmcp::{ServiceExt, transport::StreamableHttpClientTransport};

struct Case {
    name: &'static str,
    flags: &'static [&'static str],
    goal: Goal,
}

enum Goal {
    Faster,
    NotSlower,
}

const CASES: [Case; 3] = [
    Case {
        name: "NODELAY, JSON",
        flags: &["--json"],
        goal: Goal::Faster,
    },
    Case {
        name: "NODELAY, event stream",
        flags: &[],
        goal: Goal::Faster,
    },
    Case {
        name: "without NODELAY",
        flags: &["--nagle"],
        goal: Goal::NotSlower,
    },
];

fn main() -> ExitCode {
    bench("B6", |bench| {
        for case in &CASES {
            let server = HttpProcess::start(case.flags);
            let bare = bench.runtime.block_on(bare(&server.url));
            let pooled = bench.runtime.block_on(pooled(&server.url));
            compare(bench, case, &pooled, &bare);
        }
    })
}

async fn bare(url: &str) -> Bare {
    let transport = StreamableHttpClientTransport::from_uri(url);
    Arc::new(().serve(transport).await.expect("it answers"))
}

async fn pooled(url: &str) -> PooledTools {
    // As rmcp's client does by default: both sides speak the same era.
    let settings = PoolSettings::new().lifecycle(Lifecycle::Initialize);
    let manager = manager(ServerConfig::http(url), settings).await;
    manager.tools("server").expect("it is there")
}

fn compare(bench: &Bench, case: &Case, pooled: &impl Calls, bare: &impl Calls) {
    let runtime = &bench.runtime;
    let micros = |seconds: f64| seconds * 1e6;
    let calls = bench.times(100);
    let of_pooled = || micros(runtime.block_on(sequential(pooled.clone(), echo(), calls)));
    let of_bare = || micros(runtime.block_on(sequential(bare.clone(), echo(), calls)));
    // Opens the session and its connections.
    of_pooled();
    of_bare();
    let (ours, theirs) = (
        "echo over HTTP through PooledTools",
        "rmcp's default HTTP client",
    );
    let pairs = bench.times(41);
    match case.goal {
        Goal::Faster => {
            let comparison = in_turn(pairs, of_bare, of_pooled);
            let target = Target::AtLeast(2.0);
            bench.judge(case.name, (theirs, ours), &comparison, target, "µs");
        }
        Goal::NotSlower => {
            let comparison = in_turn(pairs, of_pooled, of_bare);
            let target = Target::AtMost(1.1);
            bench.judge(case.name, (ours, theirs), &comparison, target, "µs");
        }
    }
}
