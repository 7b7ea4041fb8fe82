//! B10: a permit and a success, closed, against failsafe's own `is_call_permitted` and `on_success` in the same run.
//!
//! Pairs in turn (A B A B), the median of their ratios; then criterion's figures for orientation. Judged is the like for
//! like, the cheapest policy on both sides: no more than twice the machine underneath.
//!
//! ```sh
//! cargo bench -p mcp-breaker --bench b10_breaker
//! ```
//!
//! With `POOL_BENCH_QUICK` set, the comparisons alone, with few pairs and not judged.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use failsafe::{FailurePolicy as _, StateMachine, backoff, failure_policy};
use mcp_breaker::{Breaker, State};

const PAIRS: usize = 301;
const QUICK_PAIRS: usize = 5;
const TARGET: f64 = 2.0;
const CALLS: u32 = 20_000;

fn failsafe_row() -> impl Fn() {
    let backoff = backoff::equal_jittered(Duration::from_secs(10), Duration::from_secs(300));
    let machine = StateMachine::new(failure_policy::consecutive_failures(5, backoff), ());
    move || {
        black_box(machine.is_call_permitted());
        machine.on_success();
    }
}

/// failsafe as it comes: a rate over a time window, or faults in a row. The like of our defaults.
fn failsafe_default() -> impl Fn() {
    let backoff = backoff::equal_jittered(Duration::from_secs(10), Duration::from_secs(300));
    let rate = failure_policy::success_rate_over_time_window(
        0.8,
        5,
        Duration::from_secs(30),
        backoff.clone(),
    );
    let machine = StateMachine::new(
        rate.or_else(failure_policy::consecutive_failures(5, backoff)),
        (),
    );
    move || {
        black_box(machine.is_call_permitted());
        machine.on_success();
    }
}

fn ours(breaker: &Breaker) -> impl Fn() + use<> {
    assert_eq!(breaker.state(), State::Closed);
    let breaker = breaker.clone();
    move || match breaker.try_acquire() {
        Ok(permit) => {
            // In memory, as a future would keep it across an await.
            black_box(&permit);
            permit.success();
        }
        Err(rejected) => panic!("{rejected}"),
    }
}

fn row_only() -> Breaker {
    Breaker::builder()
        .failure_rate(None)
        .build()
        .expect("valid settings")
}

fn with_slow_calls() -> Breaker {
    Breaker::builder()
        .slow_calls(Duration::from_secs(1), 0.5)
        .build()
        .expect("valid settings")
}

fn nanos_per_call(call: &impl Fn()) -> f64 {
    let start = now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

/// Whether this is only to show that the bench works.
fn quick() -> bool {
    // Without `--bench` it is `cargo test` that runs it.
    std::env::var_os("POOL_BENCH_QUICK").is_some() || std::env::args().all(|arg| arg != "--bench")
}

/// Prints the median of the ratios of pairs taken in turn, and the median time of either side. Returns the ratio.
fn compare(name: &str, ours: impl Fn(), theirs: impl Fn()) -> f64 {
    let pairs = if quick() { QUICK_PAIRS } else { PAIRS };
    let (mut ratios, mut a, mut b) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Which goes first changes too, so that no side always finds the caches warm.
        let (ours, theirs) = if pair % 2 == 0 {
            let ours = nanos_per_call(&ours);
            (ours, nanos_per_call(&theirs))
        } else {
            let theirs = nanos_per_call(&theirs);
            (nanos_per_call(&ours), theirs)
        };
        ratios.push(ours / theirs);
        a.push(ours);
        b.push(theirs);
    }
    let ratio = median(&mut ratios);
    println!(
        "B10 {name}: ratio {ratio:.2} (median of {pairs} pairs; {:.1} ns to {:.1} ns)",
        median(&mut a),
        median(&mut b)
    );
    ratio
}

fn judge(ratio: f64) {
    let met = match (quick(), ratio <= TARGET) {
        (true, _) => "not judged: quick run",
        (false, true) => "ok",
        (false, false) => "MISSED",
    };
    println!("B10 like for like: ratio {ratio:.2}, target <= {TARGET}: {met}");
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// All at once: what many callers of one breaker pay.
fn contended(call: &(impl Fn() + Sync), threads: usize) -> f64 {
    let start = now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..CALLS * 10).for_each(|_| call()));
        }
    });
    start.elapsed().as_nanos() as f64 / f64::from(CALLS * 10) / threads as f64
}

#[allow(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn b10(criterion: &mut Criterion) {
    compare(
        "defaults / failsafe's default policy",
        ours(&Breaker::default()),
        failsafe_default(),
    );
    judge(compare(
        "faults in a row only / failsafe's the same",
        ours(&row_only()),
        failsafe_row(),
    ));
    compare(
        "defaults / failsafe's faults in a row",
        ours(&Breaker::default()),
        failsafe_row(),
    );
    compare(
        "with slow calls / failsafe's default policy",
        ours(&with_slow_calls()),
        failsafe_default(),
    );
    if quick() {
        return;
    }
    let (mut ratios, shared, theirs) = (Vec::new(), ours(&Breaker::default()), failsafe_default());
    let threads = thread::available_parallelism()
        .map_or(2, usize::from)
        .max(2);
    for _ in 0..21 {
        ratios.push(contended(&shared, threads) / contended(&theirs, threads));
    }
    println!(
        "B10 {threads} threads, defaults / failsafe's default policy: ratio {:.2}",
        median(&mut ratios)
    );

    let mut group = criterion.benchmark_group("b10_breaker");
    group.bench_function("defaults", |bench| bench.iter(ours(&Breaker::default())));
    group.bench_function("faults_in_a_row", |bench| bench.iter(ours(&row_only())));
    group.bench_function("failsafe_default", |bench| bench.iter(failsafe_default()));
    group.bench_function("failsafe_faults_in_a_row", |bench| {
        bench.iter(failsafe_row());
    });
    group.finish();
}

criterion_group!(benches, b10);
criterion_main!(benches);
