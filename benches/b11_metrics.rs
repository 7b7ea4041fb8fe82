//! B11: what it costs a call to be recorded. Metrics cannot be switched off, so it is found the other way round: the same
//! call, recorded once more than it is, against the call as it is.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use mcp_pool_benches::{
    Bench, Calls, Target, bench, echo, in_turn, manager, pooled_in_process, sequential,
    this_as_server,
};
use mcp_pooled_tools::{
    PoolSettings, PooledTools,
    metrics::{CallOutcome, Metrics, ServerMetrics},
};
use rmcp::model::CallToolRequestParams;

fn main() -> ExitCode {
    bench("B11", |bench| {
        let manager = bench
            .runtime
            .block_on(manager(this_as_server(), PoolSettings::new()));
        let tools = manager.tools("server").expect("it is there");
        compare(bench, "stdio", tools);
        bench.runtime.block_on(manager.shutdown());

        let tools = bench
            .runtime
            .block_on(pooled_in_process(PoolSettings::new()));
        compare(bench, "in-process", tools);
    })
}

fn compare(bench: &Bench, case: &str, tools: PooledTools) {
    let runtime = &bench.runtime;
    let calls = bench.times(400);
    let twice = RecordedOnceMore {
        tools: tools.clone(),
        metrics: Metrics::new().server("once more"),
    };
    let micros = |seconds: f64| seconds * 1e6;
    let of_twice = || micros(runtime.block_on(sequential(twice.clone(), echo(), calls)));
    let of_once = || micros(runtime.block_on(sequential(tools.clone(), echo(), calls)));
    // The first call opens the session.
    of_once();
    of_twice();
    let comparison = in_turn(bench.times(120), of_twice, of_once);
    let sides = ("a call recorded twice", "a call recorded once");
    bench.judge(case, sides, &comparison, Target::AtMost(1.01), "µs");
}

#[derive(Clone)]
struct RecordedOnceMore {
    tools: PooledTools,
    metrics: ServerMetrics,
}

impl Calls for RecordedOnceMore {
    async fn call(&self, params: CallToolRequestParams) {
        let began = Instant::now();
        let name = params.name.clone();
        Calls::call(&self.tools, params).await;
        self.metrics.acquired(true, Duration::ZERO);
        let (tool, outcome) = (Some(&*name), CallOutcome::Ok);
        self.metrics
            .call("tools/call", tool, outcome, began.elapsed());
    }
}
