//! B6: calls over streamable HTTP, with our kept connections and with rmcp's default client, which keeps none; to a
//! server that sets TCP_NODELAY, and to one that does not and would stall a client that is not prepared for it.

use std::{process::ExitCode, sync::Arc};

use mcp_pool_benches::{
    Bare, Bench, Calls, HttpProcess, Target, bench, echo, in_turn, manager, sequential,
};
use mcp_pooled_tools::{PoolSettings, PooledTools, ServerConfig};
use rmcp::{ServiceExt, transport::StreamableHttpClientTransport};

fn main() -> ExitCode {
    bench("B6", |bench| {
        for (case, nodelay) in [("NODELAY", true), ("without NODELAY", false)] {
            let server = HttpProcess::start(nodelay);
            let bare = bench.runtime.block_on(bare(&server.url));
            let pooled = bench.runtime.block_on(pooled(&server.url));
            compare(bench, case, &pooled, &bare, nodelay);
        }
    })
}

async fn bare(url: &str) -> Bare {
    let transport = StreamableHttpClientTransport::from_uri(url);
    Arc::new(().serve(transport).await.expect("it answers"))
}

async fn pooled(url: &str) -> PooledTools {
    let manager = manager(ServerConfig::http(url), PoolSettings::new()).await;
    manager.tools("server").expect("it is there")
}

fn compare(bench: &Bench, case: &str, pooled: &impl Calls, bare: &impl Calls, nodelay: bool) {
    let runtime = &bench.runtime;
    let micros = |seconds: f64| seconds * 1e6;
    let calls = bench.times(100);
    let of_pooled = || micros(runtime.block_on(sequential(pooled.clone(), echo(), calls)));
    let of_bare = || micros(runtime.block_on(sequential(bare.clone(), echo(), calls)));
    // Opens the session, and shows the pool which kind of server this is.
    of_pooled();
    of_bare();
    let (ours, theirs) = (
        "echo over HTTP through PooledTools",
        "rmcp's default HTTP client",
    );
    let pairs = bench.times(41);
    if nodelay {
        let comparison = in_turn(pairs, of_bare, of_pooled);
        bench.judge(
            case,
            (theirs, ours),
            &comparison,
            Target::AtLeast(2.0),
            "µs",
        );
    } else {
        let comparison = in_turn(pairs, of_pooled, of_bare);
        bench.judge(case, (ours, theirs), &comparison, Target::AtMost(1.1), "µs");
    }
}
