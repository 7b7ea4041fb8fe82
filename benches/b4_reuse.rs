//! B4: a call over a session that is open against a call over a new one, with a server that takes its time to start.
//!
//! With `POOL_BENCH_EVERYTHING=path/to/server-everything/dist/index.js` that server is the reference one, by node.
//! Closing the new connection is not counted: it happens off the caller's path.

use std::process::ExitCode;

use mcp_pool_benches::{Everything, Target, bench, echo, in_turn, sequential};

fn main() -> ExitCode {
    bench("B4", |bench| {
        let runtime = &bench.runtime;
        let everything = Everything::find();
        let manager = runtime.block_on(everything.manager());
        let pooled = manager.tools("server").expect("it is there");
        let direct = manager.direct_tools("server").expect("it is there");
        runtime.block_on(sequential(pooled.clone(), echo(), 1));

        let micros = |seconds: f64| seconds * 1e6;
        let reuse = bench.times(400);
        let of_direct = || micros(runtime.block_on(sequential(direct.clone(), echo(), 1)));
        let of_pooled = || micros(runtime.block_on(sequential(pooled.clone(), echo(), reuse)));
        let comparison = in_turn(bench.times(15), of_direct, of_pooled);
        let what = format!("a new connection per call, {}", everything.name);
        let sides = (what.as_str(), "a call through PooledTools");
        bench.judge("reuse", sides, &comparison, Target::AtLeast(1_000.0), "µs");
        runtime.block_on(manager.shutdown());
    })
}
