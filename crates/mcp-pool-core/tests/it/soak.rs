//! Pools come and go under load, and nothing of them is left. Takes a minute, or as many seconds as a variable says:
//!
//! ```console
//! $ POOL_TEST_SOAK=240 cargo test -p mcp-pool-core --test it -- --ignored --nocapture soak::
//! ```

use crate::common;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{
    call, quiet_with,
    servers::{marker, server},
};
use mcp_pool_core::{
    Budget, Connected, Connector, Handshake, OpenError, SessionPool,
    connect::{BoxFuture, stdio::Stdio},
};
use mcp_testkit::process;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// Pools that are in use at the same time.
const POOLS: usize = 6;
const CALLERS: usize = 12;

/// A server that is ready some time after its handshake.
struct Late(Stdio);

impl Connector for Late {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let connected = self.0.connect(handshake).await?;
            sleep(Duration::from_millis(400)).await;
            Ok(connected)
        })
    }
}

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    pools: AtomicU64,
}

struct Soak {
    marker: String,
    budget: Budget,
    pools: Vec<Mutex<SessionPool>>,
    counts: Counts,
    ends: Instant,
}

fn milliseconds(range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(fastrand::u64(range))
}

fn pool(marker: &str, budget: &Budget) -> SessionPool {
    let connector = Late(server("").args(["--marker", marker]));
    SessionPool::builder("server", connector)
        .options(quiet_with(|options| {
            options.max_connections = 3;
            options.max_in_flight = 2;
            options.scale_up_at = 1;
            options.shutdown_grace = Duration::from_secs(1);
        }))
        .budget(budget.clone())
        .build()
        .unwrap()
}

impl Soak {
    fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    fn any(&self) -> &Mutex<SessionPool> {
        &self.pools[fastrand::usize(..POOLS)]
    }

    /// Makes calls, some of which it gives up.
    async fn call(&self) {
        while !self.is_over() {
            let pool = self.any().lock().clone();
            let calling = async {
                let lease = pool.acquire().await.ok()?;
                let guard = lease.begin_call(None);
                call(&lease, "echo", json!({ "message": "m" })).await.ok()?;
                guard.answered();
                self.counts.answered.fetch_add(1, Relaxed);
                Some(())
            };
            let _ = timeout(milliseconds(1..1_500), calling).await;
            sleep(milliseconds(0..20)).await;
        }
    }

    /// Does to pools what a reload, identities that are let go, and a shutdown do. Returns when all of them have ended.
    async fn change(&self) {
        let mut ending = JoinSet::new();
        while !self.is_over() {
            sleep(milliseconds(20..150)).await;
            let current = self.any();
            match fastrand::u8(..6) {
                0 => current.lock().evict_all(),
                1 => {
                    let mut options = current.lock().options();
                    options.max_connections = fastrand::u32(1..5);
                    current.lock().configure(options).unwrap();
                }
                2 => {
                    // A busy machine: nothing runs on this thread for a while.
                    tokio::task::block_in_place(|| std::thread::sleep(milliseconds(100..400)));
                }
                how => {
                    let next = pool(&self.marker, &self.budget);
                    let old = std::mem::replace(&mut *current.lock(), next);
                    self.counts.pools.fetch_add(1, Relaxed);
                    ending.spawn(async move {
                        match how {
                            3 => old.wind_down().await,
                            4 => old.close().await,
                            _ => drop(old),
                        }
                    });
                }
            }
        }
        for current in &self.pools {
            let last = current.lock().clone();
            ending.spawn(async move { last.close().await });
        }
        let ended = timeout(Duration::from_secs(60), async {
            while let Some(ended) = ending.join_next().await {
                ended.unwrap();
            }
        });
        ended.await.expect("each pool ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute: run by hand"]
async fn nothing_is_left_of_pools_that_come_and_go_under_load() {
    let seconds = std::env::var("POOL_TEST_SOAK").map_or(60, |text| text.parse().unwrap());
    let (marker, budget) = (marker(), Budget::new(16, 4));
    let soak = Arc::new(Soak {
        pools: (0..POOLS)
            .map(|_| Mutex::new(pool(&marker, &budget)))
            .collect(),
        marker,
        budget,
        counts: Counts::default(),
        ends: Instant::now() + Duration::from_secs(seconds),
    });
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let soak = Arc::clone(&soak);
        callers.spawn(async move { soak.call().await });
    }
    soak.change().await;
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    let counts = &soak.counts;
    let (answered, pools) = (counts.answered.load(Relaxed), counts.pools.load(Relaxed));
    println!("{seconds} s: {pools} pools ended, {answered} calls answered");
    // Those that were dropped end in the background.
    let gone = || process::by_marker(&soak.marker).is_empty();
    let gone = process::wait_until(Duration::from_secs(8), gone).await;
    assert!(gone, "left: {:?}", process::by_marker(&soak.marker));
    assert_eq!(soak.budget.in_use(), 0);
    assert!(answered > 0 && pools > 0, "{answered} calls, {pools} pools");
}
