//! B7: what callers notice of a pool that grows under them: the slowest calls while it goes from one session to ten,
//! against the slowest once it has them.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_pool_benches::{Calls, Target, bench, echo, in_turn, manager, quantile, this_as_server};
use mcp_pooled_tools::{ConnectionManager, PoolSettings, PooledTools};
use tokio::task::JoinSet;

/// More than the eight for each of nine sessions at which the pool opens the tenth.
const CALLERS: usize = 88;

fn main() -> ExitCode {
    bench("B7", |bench| {
        let runtime = &bench.runtime;
        // Both sides of a pair come from one load.
        let tails: Vec<_> = (0..bench.times(15))
            .map(|_| runtime.block_on(tails()))
            .collect();
        let (mut growing, mut steady) = (tails.iter(), tails.iter());
        let comparison = in_turn(
            tails.len(),
            || growing.next().expect("one for each pair").growing,
            || steady.next().expect("one for each pair").steady,
        );
        let sides = (
            "p99 of echo while the pool grows from 1 to 10 sessions",
            "p99 with all 10",
        );
        bench.judge(
            "growth under load",
            sides,
            &comparison,
            Target::AtMost(2.0),
            "ms",
        );
    })
}

struct Tails {
    growing: f64,
    steady: f64,
}

async fn tails() -> Tails {
    let manager = manager(this_as_server(), PoolSettings::new().min_connections(1)).await;
    let tools = manager.tools("server").expect("it is there");
    Calls::call(&tools, echo()).await;

    let over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call_until(Arc::clone(&over), tools.clone()));
    }
    let grown = grown(&manager).await;
    let settled = grown + Duration::from_millis(50);
    tokio::time::sleep(Duration::from_millis(450)).await;
    over.store(true, Ordering::Relaxed);

    let calls: Vec<_> = callers.join_all().await.concat();
    manager.shutdown().await;
    let p99 = |during: &dyn Fn(Instant) -> bool| {
        let chosen = calls.iter().filter(|call| during(call.0));
        let mut millis: Vec<_> = chosen.map(|call| call.1.as_secs_f64() * 1e3).collect();
        quantile(&mut millis, 0.99)
    };
    Tails {
        growing: p99(&|began| began < grown),
        steady: p99(&|began| began >= settled),
    }
}

/// When each call began, and how long it took.
async fn call_until(over: Arc<AtomicBool>, tools: PooledTools) -> Vec<(Instant, Duration)> {
    let mut calls = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        Calls::call(&tools, echo()).await;
        calls.push((began, began.elapsed()));
    }
    calls
}

/// When the tenth session was open. Under a load that does not ask for ten, the growth is over after two seconds.
async fn grown(manager: &ConnectionManager) -> Instant {
    let began = Instant::now();
    loop {
        let status = manager.pool_status("server").expect("it is there");
        let open = status.connections.idle + status.connections.active;
        if open >= 10 || began.elapsed() > Duration::from_secs(2) {
            return Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
