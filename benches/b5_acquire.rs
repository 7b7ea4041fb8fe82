//! B5: what the pool itself costs, taking a place and giving it back, against bb8 and deadpool with connections that
//! cost nothing. The same number of places on all sides.

use std::{future::Future, hint::black_box, process::ExitCode, time::Instant};

use mcp_pool_benches::{Bench, Target, bench, in_turn, trivial_bb8, trivial_deadpool, warm_pool};
use tokio::{runtime::Runtime, task::JoinSet};

fn main() -> ExitCode {
    bench("B5", |bench| {
        against_others(
            bench,
            "uncontended",
            Load {
                callers: 1,
                places: 10,
            },
        );
        against_others(
            bench,
            "64 callers, 10 places",
            Load {
                callers: 64,
                places: 10,
            },
        );
        against_others(
            bench,
            "64 callers, 160 places",
            Load {
                callers: 64,
                places: 160,
            },
        );
        growth(bench);
        absolute(bench);
    })
}

#[derive(Clone, Copy)]
struct Load {
    callers: usize,
    places: usize,
}

fn against_others(bench: &Bench, case: &str, load: Load) {
    let runtime = &bench.runtime;
    let sessions = 10;
    let in_flight = load.places / sessions;
    let ours = runtime.block_on(warm_pool(sessions as u32, in_flight as u32));
    let bb8 = runtime.block_on(trivial_bb8(load.places as u32));
    let deadpool = runtime.block_on(trivial_deadpool(load.places));
    let rounds = bench.times(64_000) / load.callers;
    let pairs = bench.times(61);

    let mut take_ours = || {
        time(runtime, load.callers, rounds, &ours, |pool| async move {
            pool.acquire().await.unwrap()
        })
    };
    let take_bb8 = || {
        time(runtime, load.callers, rounds, &bb8, |pool| async move {
            pool.get_owned().await.unwrap()
        })
    };
    let take_deadpool = || {
        time(
            runtime,
            load.callers,
            rounds,
            &deadpool,
            |pool| async move { pool.get().await.unwrap() },
        )
    };
    let what = "acquire + release";
    let target = Target::Below(1.0);
    let comparison = in_turn(pairs, &mut take_ours, take_bb8);
    bench.judge(
        &format!("{case}, bb8"),
        (what, "bb8 get + put"),
        &comparison,
        target,
        "ns",
    );
    let comparison = in_turn(pairs, take_ours, take_deadpool);
    bench.judge(
        &format!("{case}, deadpool"),
        (what, "deadpool get + put"),
        &comparison,
        target,
        "ns",
    );
}

/// Nanoseconds for each taking and giving back. With more callers than one, each lets the others run while it has its
/// place: without that a round is over before anybody else is there to contend.
fn time<P, F, G>(runtime: &Runtime, callers: usize, rounds: usize, pool: &P, take: F) -> f64
where
    P: Clone + Send + 'static,
    F: Fn(P) -> G + Copy + Send + 'static,
    G: Future<Output: Send> + Send,
{
    let began = Instant::now();
    runtime.block_on(async {
        let mut running = JoinSet::new();
        for _ in 0..callers {
            let pool = pool.clone();
            running.spawn(async move {
                for _ in 0..rounds {
                    let taken = take(pool.clone()).await;
                    if callers > 1 {
                        tokio::task::yield_now().await;
                    }
                    drop(black_box(taken));
                }
            });
        }
        running.join_all().await;
    });
    began.elapsed().as_nanos() as f64 / (callers * rounds) as f64
}

/// With the number of open sessions, of pools used in turn, and of callers.
fn growth(bench: &Bench) {
    const SERIES: [&str; 3] = [
        "acquire + release by sessions open",
        "acquire + release by pools in use",
        "acquire + release by callers, 10 places",
    ];
    let runtime = &bench.runtime;
    for size in [1, 10, 100, 1_000] {
        if bench.quick && size > 10 {
            break;
        }
        let rounds = bench.times(100_000);
        let pool = runtime.block_on(warm_pool(size as u32, 16));
        let ns = time(runtime, 1, rounds, &pool, |pool| async move {
            pool.acquire().await.unwrap()
        });
        bench.point(SERIES[0], "ns", "mcp-pool", size, ns);

        let pools: Vec<_> = (0..size)
            .map(|_| runtime.block_on(warm_pool(1, 16)))
            .collect();
        let began = Instant::now();
        runtime
            .block_on(runtime.spawn(async move {
                for round in 0..rounds {
                    drop(black_box(pools[round % size].acquire().await));
                }
            }))
            .expect("it cannot fail");
        let ns = began.elapsed().as_nanos() as f64 / rounds as f64;
        bench.point(SERIES[1], "ns", "mcp-pool", size, ns);

        let rounds = rounds / size;
        let ours = runtime.block_on(warm_pool(10, 1));
        let bb8 = runtime.block_on(trivial_bb8(10));
        let deadpool = runtime.block_on(trivial_deadpool(10));
        let ns = time(runtime, size, rounds, &ours, |pool| async move {
            pool.acquire().await.unwrap()
        });
        bench.point(SERIES[2], "ns", "mcp-pool", size, ns);
        let ns = time(runtime, size, rounds, &bb8, |pool| async move {
            pool.get_owned().await.unwrap()
        });
        bench.point(SERIES[2], "ns", "bb8", size, ns);
        let ns = time(runtime, size, rounds, &deadpool, |pool| async move {
            pool.get().await.unwrap()
        });
        bench.point(SERIES[2], "ns", "deadpool", size, ns);
    }
}

fn absolute(bench: &mut Bench) {
    let runtime = &bench.runtime;
    let ours = runtime.block_on(warm_pool(10, 1));
    let bb8 = runtime.block_on(trivial_bb8(10));
    let deadpool = runtime.block_on(trivial_deadpool(10));
    let mut group = bench.criterion.benchmark_group("B5 acquire + release");
    group.bench_function("mcp-pool", |b| {
        b.to_async(runtime)
            .iter(|| async { drop(ours.acquire().await) });
    });
    group.bench_function("bb8", |b| {
        b.to_async(runtime).iter(|| async { drop(bb8.get().await) });
    });
    group.bench_function("deadpool", |b| {
        b.to_async(runtime)
            .iter(|| async { drop(deadpool.get().await) });
    });
    group.finish();
}
