//! What users give a pool may panic. That costs nobody else anything.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{Scripted, Step, assert_all_places_work, quiet_with, within};
use mcp_pool_core::{PoolEvent, SessionPool};

#[tokio::test]
async fn an_observer_that_panics_costs_no_place() {
    let options = quiet_with(|options| options.max_connections = 1);
    let pool = SessionPool::builder("server", Scripted::always(Step::Open))
        .options(options)
        .observer(|_: &PoolEvent| panic!("as the test wants it"))
        .build()
        .unwrap();
    for _ in 0..3 {
        let session = within(pool.acquire()).await.unwrap().id();
        pool.evict(session);
    }
    assert_all_places_work(&pool).await;
    within(pool.close()).await;
}
