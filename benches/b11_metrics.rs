//! B11: what it costs a call to be recorded. Metrics cannot be switched off, so it is found the other way round: the same
//! call, recorded once more than it is, against the call as it is.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use mcp_pool_benches::{
    Bench, Calls, Comparison, Target, bench, echo, manager, pooled_in_process, this_as_server,
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
    let twice = RecordedOnceMore {
        tools: tools.clone(),
        metrics: Metrics::new().server("once more"),
    };
    let pairs = bench.times(60_000);
    let comparison = bench.runtime.block_on(call_by_call(twice, tools, pairs));
    let sides = ("a call recorded twice", "a call recorded once");
    bench.judge(case, sides, &comparison, Target::AtMost(1.01), "µs");
}

/// What is looked for is smaller than what a machine drifts by between two blocks of calls, so it is every other call that
/// is recorded twice.
async fn call_by_call(twice: RecordedOnceMore, once: PooledTools, pairs: usize) -> Comparison {
    // In a task, as in a server or an agent: `block_on` would put a thread of its own in between.
    let task = tokio::spawn(async move {
        // The first call opens the session.
        took(&once).await;
        let mut taken = Vec::with_capacity(pairs);
        for pair in 0..pairs.max(1) {
            taken.push(if pair % 2 == 0 {
                let measured = took(&twice).await;
                (measured, took(&once).await)
            } else {
                let reference = took(&once).await;
                (took(&twice).await, reference)
            });
        }
        Comparison::of(taken)
    });
    task.await.expect("a failed call ends the bench")
}

/// Microseconds of a call.
async fn took(tools: &impl Calls) -> f64 {
    let began = Instant::now();
    tools.call(echo()).await;
    began.elapsed().as_secs_f64() * 1e6
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
