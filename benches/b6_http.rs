//! B6: calls over streamable HTTP, against rmcp with a client of its own that keeps its connections, which is the limit,
//! and against rmcp's default client, which keeps none; to a server that sets TCP_NODELAY, and to one that does not and
//! would stall a client whose acknowledgements are delayed.
//!
//! A server may answer with an event stream, in which a priming event comes before each reply, or with plain JSON: the
//! less a call costs beside its connection, the more a kept one gains.

use std::{process::ExitCode, sync::Arc};

use mcp_pool_benches::{
    Bare, Bench, HttpProcess, Target, bare_kept_alive, bench, echo, in_turn, manager, sequential,
};
use mcp_pooled_tools::{Lifecycle, PoolSettings, PooledTools, ServerConfig};
use rmcp::{ServiceExt, transport::StreamableHttpClientTransport};

struct Case {
    name: &'static str,
    flags: &'static [&'static str],
    /// Against rmcp's default client.
    target: Target,
    /// Against the limit, where the server does not stall a kept connection.
    limit: Option<Target>,
}

const CASES: [Case; 3] = [
    Case {
        name: "NODELAY, JSON",
        flags: &["--json"],
        target: Target::Below(1.0),
        limit: Some(Target::AtMost(1.03)),
    },
    Case {
        name: "NODELAY, event stream",
        flags: &[],
        target: Target::Below(1.0),
        limit: Some(Target::AtMost(1.03)),
    },
    Case {
        name: "without NODELAY",
        flags: &["--nagle"],
        target: Target::AtMost(1.1),
        limit: None,
    },
];

fn main() -> ExitCode {
    bench("B6", |bench| {
        for case in &CASES {
            let server = HttpProcess::start(case.flags);
            let pooled = bench.runtime.block_on(pooled(&server.url));
            let bare = bench.runtime.block_on(bare(&server.url));
            let name = format!("{}, default client", case.name);
            let against = "rmcp's default HTTP client";
            compare(bench, &name, &pooled, (&bare, against), case.target);
            if let Some(limit) = case.limit {
                let kept = bench.runtime.block_on(bare_kept_alive(&server.url, 16));
                let name = format!("{}, the limit", case.name);
                let against = "rmcp with a client that keeps connections";
                compare(bench, &name, &pooled, (&kept, against), limit);
            }
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

fn compare(
    bench: &Bench,
    case: &str,
    pooled: &PooledTools,
    (reference, against): (&Bare, &str),
    target: Target,
) {
    let runtime = &bench.runtime;
    let micros = |seconds: f64| seconds * 1e6;
    let calls = bench.times(100);
    let of_pooled = || micros(runtime.block_on(sequential(pooled.clone(), echo(), calls)));
    let of_reference = || micros(runtime.block_on(sequential(reference.clone(), echo(), calls)));
    // Opens the session and its connections.
    of_pooled();
    of_reference();
    let comparison = in_turn(bench.times(41), of_pooled, of_reference);
    let sides = ("echo over HTTP through PooledTools", against);
    bench.judge(case, sides, &comparison, target, "µs");
}
