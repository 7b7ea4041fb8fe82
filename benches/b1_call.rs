//! B1: one call after the other, through the facade and on a bare session: what a caller pays who needs no pool.

use std::{process::ExitCode, time::Duration};

use mcp_pool_benches::{
    Bench, Calls, Target, bare_in_process, bare_stdio, bench, echo, in_turn, manager,
    pooled_in_process, sequential, this_as_server,
};
use mcp_pooled_tools::PoolSettings;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    bench("B1", |bench| {
        let manager = bench
            .runtime
            .block_on(manager(this_as_server(), PoolSettings::new()));
        let bare = bench.runtime.block_on(bare_stdio());
        let pooled = manager.tools("server").expect("it is there");
        compare(bench, "stdio", &pooled, &bare, Target::AtMost(1.03));
        bench.runtime.block_on(manager.shutdown());

        let bare = bench.runtime.block_on(bare_in_process());
        let pooled = bench
            .runtime
            .block_on(pooled_in_process(PoolSettings::new()));
        compare(bench, "in-process", &pooled, &bare, Target::AtMost(1.10));
    })
}

fn compare(bench: &mut Bench, case: &str, pooled: &impl Calls, bare: &impl Calls, target: Target) {
    let runtime = &bench.runtime;
    let calls = bench.times(400);
    let micros = |seconds: f64| seconds * 1e6;
    let of_pooled = || micros(runtime.block_on(sequential(pooled.clone(), echo(), calls)));
    let of_bare = || micros(runtime.block_on(sequential(bare.clone(), echo(), calls)));
    // The first call opens the session.
    of_pooled();
    of_bare();
    let comparison = in_turn(bench.times(120), of_pooled, of_bare);
    let sides = ("a call through PooledTools", "on one bare rmcp session");
    bench.judge(case, sides, &comparison, target, "µs");

    let mut group = bench.criterion.benchmark_group(format!("B1 call, {case}"));
    group.bench_function("pooled", |b| {
        b.iter_custom(|calls| took(runtime, pooled, calls));
    });
    group.bench_function("bare", |b| {
        b.iter_custom(|calls| took(runtime, bare, calls));
    });
    group.finish();
}

fn took(runtime: &Runtime, tools: &impl Calls, calls: u64) -> Duration {
    let each = runtime.block_on(sequential(tools.clone(), echo(), calls as usize));
    Duration::from_secs_f64(each * calls as f64)
}
