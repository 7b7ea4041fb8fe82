//! A server that sends what nobody asked for costs a bounded amount of memory, and no other server's calls.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "it/common/mod.rs"]
mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{call, closed, echo, observed, pool_of, quiet, servers::server, within};
use tokio::time::{Instant, sleep};

const MIB: usize = 1024 * 1024;

/// 64 MiB and four times the largest message.
const ALLOWED: usize = 64 * MIB + 4 * 16 * MIB;

/// Follows how much memory this process has, until it is asked for the most.
struct Watch {
    most: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    before: usize,
}

impl Watch {
    fn begin() -> Self {
        let most = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let (to, until) = (Arc::clone(&most), Arc::clone(&over));
        std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                to.fetch_max(resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            most,
            over,
            before: resident(),
        }
    }

    fn grown(&self) -> usize {
        self.most
            .load(Ordering::Relaxed)
            .saturating_sub(self.before)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_costs_bounded_memory_and_neither_its_own_calls_nor_those_of_others() {
    let neighbours = pool_of(server(""), quiet());
    for flood in [
        "pings", "roots", "logs", "progress", "large", "heavy", "noise",
    ] {
        let watch = Watch::begin();
        let pool = pool_of(server(&format!("--flood {flood}")), quiet());
        let own = within(pool.acquire()).await.unwrap();
        let neighbour = within(neighbours.acquire()).await.unwrap();
        assert_eq!(echo(&own).await, "hello");
        let (began, mut slowest, mut calls) = (Instant::now(), Duration::ZERO, 0);
        while began.elapsed() < Duration::from_secs(3) {
            let called = Instant::now();
            assert_eq!(echo(&neighbour).await, "hello");
            slowest = slowest.max(called.elapsed());
            calls += 1;
            sleep(Duration::from_millis(1)).await;
        }
        assert!(!own.has_ended(), "{flood}: {}", own.cause_of_end().await);
        assert_eq!(echo(&own).await, "hello");
        let grown = watch.grown();
        println!(
            "{flood}: {} MiB, {calls} calls of a neighbour, the slowest {slowest:?}",
            grown / MIB
        );
        assert!(grown < ALLOWED, "{flood}: {} MiB", grown / MIB);
        drop(own);
        within(pool.close()).await;
    }
    within(neighbours.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_and_does_not_read_the_answers_ends_with_a_cause() {
    for flood in ["pings", "roots"] {
        let (pool, events) = observed(server(&format!("--flood {flood}")), quiet());
        let lease = within(pool.acquire()).await.unwrap();
        let frozen = call(&lease, "freeze", serde_json::json!({"how": "stdin"}));
        within(frozen).await.unwrap_err();
        let cause = lease.cause_of_end().await;
        assert!(
            cause.starts_with("the server does not read what is sent to it: "),
            "{cause}"
        );
        drop(lease);
        events.wait_for(1, closed).await;
        within(pool.close()).await;
    }
}
