//! When a pool starts to keep its minimum: sequential calls start a server once.

use crate::common;
use std::time::Duration;

use common::{
    Scripted, Step, acquire_apart, assert_balanced, at_rest, echo, observed, opened, options,
    pool_of, within,
};
use mcp_pool_core::{PoolOptions, SharingMode};
use tokio::time::sleep;

fn two(sharing: SharingMode) -> PoolOptions {
    options(|options| {
        options.min_connections = 2;
        options.sharing = sharing;
        options.max_idle_time = Duration::from_secs(86_400);
    })
}

#[tokio::test(start_paused = true)]
async fn one_sequential_caller_has_one_session_opened() {
    for sharing in [SharingMode::Multiplexed, SharingMode::Exclusive] {
        let connector = Scripted::always(Step::Open);
        let pool = pool_of(connector.clone(), two(sharing));
        for _ in 0..20 {
            let lease = within(pool.acquire()).await.unwrap();
            assert_eq!(echo(&lease).await, "hello");
            drop(lease);
            sleep(Duration::from_secs(10)).await;
        }
        assert_eq!(connector.begun(), 1, "{sharing:?}");
        assert_balanced(&pool);
    }
}

#[tokio::test(start_paused = true)]
async fn two_callers_at_once_have_the_minimum_opened_and_kept() {
    for sharing in [SharingMode::Multiplexed, SharingMode::Exclusive] {
        let (pool, events) = observed(Scripted::always(Step::Open), two(sharing));
        let first = within(pool.acquire()).await.unwrap();
        at_rest().await;
        assert_eq!(events.count(opened), 1, "{sharing:?}");
        let second = within(pool.acquire()).await.unwrap();
        events.wait_for(2, opened).await;
        drop((first, second));
        pool.evict(pool.sessions()[0].id());
        events.wait_for(3, opened).await;
        at_rest().await;
        assert_eq!(assert_balanced(&pool).connections.idle, 2, "{sharing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_come_together_before_anything_is_open_count_as_two_at_once() {
    let connector = Scripted::always(Step::Gated);
    let (pool, events) = observed(connector.clone(), two(SharingMode::Multiplexed));
    let callers = [acquire_apart(&pool), acquire_apart(&pool)];
    connector.wait_begun(1).await;
    connector.let_through(2);
    let mut held = Vec::new();
    for caller in callers {
        held.push(within(caller).await.unwrap().unwrap());
    }
    events.wait_for(2, opened).await;
}
