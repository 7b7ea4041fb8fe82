//! B2: many callers at once, through a pool with its defaults and on one bare session shared by hand.

use std::process::ExitCode;

use mcp_pool_benches::{
    Bench, Calls, Target, bare_stdio, bench, concurrent, echo, in_turn, manager, this_as_server,
};
use mcp_pooled_tools::PoolSettings;

fn main() -> ExitCode {
    bench("B2", |bench| {
        let settings = PoolSettings::new().max_waiters(2_000);
        let manager = bench.runtime.block_on(manager(this_as_server(), settings));
        let bare = bench.runtime.block_on(bare_stdio());
        let pooled = manager.tools("server").expect("it is there");
        compare(bench, &pooled, &bare);
        growth(bench, &pooled, &bare);
        bench.runtime.block_on(manager.shutdown());
    })
}

fn compare(bench: &Bench, pooled: &impl Calls, bare: &impl Calls) {
    let runtime = &bench.runtime;
    let calls_each = bench.times(60);
    let of_pooled = || runtime.block_on(concurrent(pooled, &echo(), 64, calls_each));
    let of_bare = || runtime.block_on(concurrent(bare, &echo(), 64, calls_each));
    // The pool grows to what this load takes.
    of_pooled();
    of_bare();
    let comparison = in_turn(bench.times(61), of_pooled, of_bare);
    let sides = (
        "64 callers, echo, through PooledTools",
        "on one bare rmcp session",
    );
    bench.judge(
        "64 callers, echo",
        sides,
        &comparison,
        Target::AtLeast(0.97),
        "calls/s",
    );
}

fn growth(bench: &Bench, pooled: &impl Calls, bare: &impl Calls) {
    for callers in [1, 10, 100, 1_000] {
        let calls_each = bench.times(8_000).div_ceil(callers);
        let rate = |tools: &dyn Fn() -> f64| (0..3).map(|_| tools()).fold(0.0, f64::max);
        let runtime = &bench.runtime;
        let of_pooled =
            rate(&|| runtime.block_on(concurrent(pooled, &echo(), callers, calls_each)));
        let of_bare = rate(&|| runtime.block_on(concurrent(bare, &echo(), callers, calls_each)));
        bench.point(
            "echo by callers",
            "calls/s",
            "PooledTools",
            callers,
            of_pooled,
        );
        bench.point(
            "echo by callers",
            "calls/s",
            "one bare session",
            callers,
            of_bare,
        );
    }
}
