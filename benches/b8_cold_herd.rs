//! B8: a hundred callers at once on a pool that has nothing open, against one such caller; and how many processes that
//! starts. The server as in B4.

use std::{
    cell::Cell,
    process::ExitCode,
    time::{Duration, Instant},
};

use mcp_pool_benches::{Everything, Target, bench, concurrent, echo, in_turn};

fn main() -> ExitCode {
    bench("B8", |bench| {
        let runtime = &bench.runtime;
        let everything = Everything::find();
        let most = Cell::new(0);
        let herd = |callers: usize| {
            let (took, started) = runtime.block_on(first_calls(&everything, callers));
            most.set(most.get().max(started));
            took
        };
        let comparison = in_turn(bench.times(15), || herd(100), || herd(1));
        let what = format!("100 callers on an empty pool, {}", everything.name);
        bench.judge(
            "cold herd",
            (&what, "1 caller"),
            &comparison,
            Target::AtMost(1.2),
            "ms",
        );
        let processes = most.get() as f64;
        bench.judge_figure(
            "cold herd",
            "processes started",
            processes,
            "processes",
            Target::AtMost(10.0),
        );
    })
}

/// Milliseconds until all have their answer, and the processes started until half a second later.
async fn first_calls(everything: &Everything, callers: usize) -> (f64, u64) {
    let manager = everything.manager().await;
    let tools = manager.tools("server").expect("it is there");
    let began = Instant::now();
    concurrent(&tools, &echo(), callers, 1).await;
    let took = began.elapsed().as_secs_f64() * 1e3;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let started = manager.pool_status("server").expect("it is there").opened;
    manager.shutdown().await;
    (took, started)
}
