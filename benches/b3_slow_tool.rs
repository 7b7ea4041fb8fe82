//! B3: many callers of a tool that takes its time, through a pool with its defaults and through bb8 with ten sessions
//! of which each serves one caller at a time: what sharing sessions is worth.

use std::process::ExitCode;

use mcp_pool_benches::{
    BareSessions, Calls, Target, bench, concurrent, in_turn, manager, sleep_10_ms, this_as_server,
};
use mcp_pooled_tools::PoolSettings;
use rmcp::model::CallToolRequestParams;

/// The tools over bb8, as one would write it without us.
#[derive(Clone)]
struct Exclusive(bb8::Pool<BareSessions>);

impl Calls for Exclusive {
    async fn call(&self, params: CallToolRequestParams) {
        let session = self.0.get().await.expect("a session becomes free in time");
        session.call(params).await;
    }
}

fn main() -> ExitCode {
    bench("B3", |bench| {
        let runtime = &bench.runtime;
        let manager = runtime.block_on(manager(this_as_server(), PoolSettings::new()));
        let pooled = manager.tools("server").expect("it is there");
        let exclusive = runtime.block_on(async {
            let builder = bb8::Pool::builder().max_size(10).min_idle(10);
            Exclusive(builder.build(BareSessions).await.expect("it cannot fail"))
        });
        let calls_each = bench.times(10);
        let of_pooled = || runtime.block_on(concurrent(&pooled, &sleep_10_ms(), 64, calls_each));
        let of_exclusive =
            || runtime.block_on(concurrent(&exclusive, &sleep_10_ms(), 64, calls_each));
        // The pool grows to what this load takes.
        of_pooled();
        of_exclusive();
        let comparison = in_turn(bench.times(11), of_pooled, of_exclusive);
        let sides = (
            "64 callers, 10 ms tool, through PooledTools",
            "bb8 with 10 exclusive sessions",
        );
        bench.judge(
            "64 callers, 10 ms tool",
            sides,
            &comparison,
            Target::AtLeast(6.0),
            "calls/s",
        );

        for callers in [1, 10, 100, 1_000] {
            let calls_each = bench.times(800).div_ceil(callers).max(2);
            let rate = runtime.block_on(concurrent(&pooled, &sleep_10_ms(), callers, calls_each));
            bench.point(
                "10 ms tool by callers",
                "calls/s",
                "PooledTools",
                callers,
                rate,
            );
            let rate =
                runtime.block_on(concurrent(&exclusive, &sleep_10_ms(), callers, calls_each));
            bench.point(
                "10 ms tool by callers",
                "calls/s",
                "bb8, exclusive",
                callers,
                rate,
            );
        }
        runtime.block_on(manager.shutdown());
    })
}
