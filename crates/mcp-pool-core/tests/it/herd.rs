//! Many callers at once: few openings, and no wait without need.

use crate::common;
use std::time::Duration;

use common::{
    Scripted, Step, acquire_apart, assert_balanced, at_rest, call, echo, observed, opened, options,
    pool_of, quiet_with, within,
};
use mcp_pool_core::{AcquireError, PoolEvent, SessionPool, SharingMode};
use mcp_testkit::TestServer;
use serde_json::json;
use tokio::task::JoinSet;

async fn herd(pool: &SessionPool, callers: usize) {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let pool = pool.clone();
        tasks.spawn(async move {
            let lease = pool.acquire().await.unwrap();
            call(&lease, "sleep", json!({"ms": 50})).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_at_an_empty_pool_cause_one_opening_first() {
    let connector = Scripted::new(&TestServer::new(), |_| Step::Gated);
    let pool = pool_of(connector.clone(), options(|_| {}));
    let callers: Vec<_> = (0..100).map(|_| acquire_apart(&pool)).collect();
    at_rest().await;
    assert_eq!((connector.begun(), pool.status().waiters), (1, 100));
    assert_eq!(pool.status().connections.connecting, 1);

    connector.let_through(1);
    connector.wait_begun(2).await;
    at_rest().await;
    assert_eq!(
        pool.status().in_flight,
        16,
        "what fits on one session has not waited for the second"
    );

    connector.let_through(100);
    for caller in callers {
        drop(within(caller).await.unwrap().unwrap());
    }
    at_rest().await;
    assert_eq!(connector.most_at_once(), 1, "one opening at a time");
    let status = assert_balanced(&pool);
    assert!(status.opened <= 10, "{status:#?}");
}

#[tokio::test(start_paused = true)]
async fn pain_13_a_herd_never_opens_more_than_the_maximum_and_is_served_in_full() {
    for sharing in [SharingMode::Multiplexed, SharingMode::Exclusive] {
        let server = TestServer::new();
        let slow = Scripted::new(&server, |_| Step::OpenAfter(Duration::from_millis(30)));
        let pool = pool_of(
            slow.clone(),
            options(|options| {
                options.max_connections = 4;
                options.sharing = sharing;
            }),
        );
        herd(&pool, 100).await;
        at_rest().await;
        assert_eq!(server.calls_of("sleep"), 100);
        assert!(slow.begun() <= 4, "{sharing:?}: {}", slow.begun());
        assert_eq!(assert_balanced(&pool).opened, slow.begun() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_herd_that_one_session_can_carry_opens_one() {
    let connector = Scripted::always(Step::Open);
    let pool = pool_of(
        connector.clone(),
        quiet_with(|options| options.scale_up_at = 16),
    );
    herd(&pool, 16).await;
    assert_eq!(connector.begun(), 1);
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn pain_08_max_connecting_is_the_limit_of_openings_at_once() {
    let connector = Scripted::always(Step::OpenAfter(Duration::from_millis(100)));
    let pool = pool_of(
        connector.clone(),
        quiet_with(|options| {
            options.max_connecting = 3;
            options.sharing = SharingMode::Exclusive;
        }),
    );
    herd(&pool, 50).await;
    assert_eq!(connector.most_at_once(), 3);
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn callers_never_wait_for_a_spawn_while_a_live_session_has_room() {
    let connector = Scripted::new(&TestServer::new(), |number| match number {
        1 => Step::Open,
        _ => Step::Never,
    });
    let pool = pool_of(
        connector.clone(),
        quiet_with(|options| {
            options.scale_up_at = 4;
            options.max_in_flight = 16;
            options.connection_timeout = Duration::from_secs(3600);
        }),
    );
    let mut leases = Vec::new();
    for _ in 0..16 {
        let began = tokio::time::Instant::now();
        leases.push(within(pool.acquire()).await.unwrap());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    connector.wait_begun(2).await;
    for lease in &leases {
        assert_eq!(echo(lease).await, "hello");
    }
    // All the same session, while the second one never finishes opening.
    assert!(leases.iter().all(|lease| lease.id() == leases[0].id()));
    assert_eq!(pool.status().connections.connecting, 1);
    leases.clear();
    drop(within(pool.acquire()).await.unwrap());
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn pain_11_one_more_session_is_opened_when_scale_up_at_is_passed_and_not_before() {
    let connector = Scripted::always(Step::Open);
    let (pool, events) = observed(
        connector.clone(),
        quiet_with(|options| options.scale_up_at = 3),
    );
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.acquire().await.unwrap());
    }
    at_rest().await;
    assert_eq!(connector.begun(), 1);
    leases.push(pool.acquire().await.unwrap());
    events.wait_for(2, opened).await;
    at_rest().await;
    assert_eq!(connector.begun(), 2, "one more, not several");
    // New callers go where there is least to do.
    let fifth = pool.acquire().await.unwrap();
    assert_ne!(fifth.id(), leases[0].id());
    drop((leases, fifth));
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn one_caller_too_many_is_refused_at_once() {
    let (pool, events) = observed(
        Scripted::always(Step::Open),
        quiet_with(|options| {
            options.max_connections = 1;
            options.sharing = SharingMode::Exclusive;
            options.max_waiters = 3;
        }),
    );
    let held = pool.acquire().await.unwrap();
    let waiting: Vec<_> = (0..3).map(|_| acquire_apart(&pool)).collect();
    at_rest().await;
    let began = tokio::time::Instant::now();
    let refused = pool.acquire().await.unwrap_err();
    assert!(
        matches!(refused, AcquireError::Exhausted { waiters: 3 }),
        "{refused:?}"
    );
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(pool.status().refused, 1);
    assert_eq!(events.count(|event| matches!(event, PoolEvent::Refused)), 1);

    drop(held);
    for caller in waiting {
        drop(within(caller).await.unwrap().unwrap());
    }
    drop(within(pool.acquire()).await.unwrap());
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_too_long_is_told_for_what() {
    let timeout = Duration::from_secs(3);
    let limits = quiet_with(|options| {
        options.max_connections = 1;
        options.sharing = SharingMode::Exclusive;
        options.connection_timeout = timeout;
    });
    let pool = pool_of(Scripted::always(Step::Open), limits.clone());
    let held = pool.acquire().await.unwrap();
    let began = tokio::time::Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(began.elapsed(), timeout);
    assert!(error.to_string().contains("in phase queue"), "{error}");
    drop(held);
    assert_balanced(&pool);

    let pool = pool_of(Scripted::always(Step::Never), limits);
    let began = tokio::time::Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert!(began.elapsed() <= timeout);
    assert!(error.to_string().contains("in phase handshake"), "{error}");
    tokio::time::sleep(4 * timeout).await;
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}
