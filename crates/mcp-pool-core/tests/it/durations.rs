//! The longest duration there is stands for "never" in every setting.

use crate::common;
use std::time::Duration;

use common::{Scripted, Step, assert_all_places_work, options, pool_of, within};
use mcp_pool_core::{OpenErrorKind, PoolOptions};

fn never() -> PoolOptions {
    options(|options| {
        options.max_idle_time = Duration::MAX;
        options.max_session_age = Duration::MAX;
        options.connection_timeout = Duration::MAX;
        options.health_check_interval = Duration::MAX;
        options.probe_timeout = Duration::MAX;
        options.retry_delay = Duration::MAX;
        options.shutdown_grace = Duration::MAX;
    })
}

#[tokio::test]
async fn a_pool_of_endless_patience_serves_and_closes() {
    let pool = pool_of(Scripted::always(Step::Open), never());
    assert!(within(pool.probe()).await.unwrap().alive);
    within(pool.pin()).await.map(drop).unwrap();
    assert_all_places_work(&pool).await;
    within(pool.close()).await;
}

#[tokio::test]
async fn an_endless_pause_between_tries_is_no_panic() {
    let connector = Scripted::always(Step::Fail(OpenErrorKind::Unreachable));
    let pool = pool_of(connector, never());
    assert!(within(pool.acquire()).await.is_err());
}
