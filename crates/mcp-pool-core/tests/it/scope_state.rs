//! The state of a scope: never closed by policy, never lost silently.

use crate::common;
use std::time::Duration;

use common::{Scripted, Step, assert_balanced, at_rest, echo, pool_on, quiet_with};
use mcp_pool_core::{
    AcquireError, Budget, CloseReason, Lease, PoolOptions, Scope, SessionId, SessionPool,
    SharingMode,
};
use mcp_testkit::TestServer;
use tokio::time::{sleep, timeout};

const HOUR: Duration = Duration::from_secs(3600);

fn pinned(change: impl FnOnce(&mut PoolOptions)) -> PoolOptions {
    quiet_with(|options| {
        options.sharing = SharingMode::Pinned;
        change(options);
    })
}

/// Makes a call in the scope, on the session that is named then.
async fn used(pool: &SessionPool, scope: &Scope) -> SessionId {
    let lease = pool.acquire_in(scope).await.unwrap();
    assert_eq!(echo(&lease).await, "hello");
    lease.id()
}

fn reason(outcome: Result<Lease, AcquireError>) -> CloseReason {
    match outcome {
        Err(AcquireError::StateLost { reason }) => reason,
        other => panic!("not the loss of the state: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn neither_age_nor_rest_closes_a_session_whose_scope_has_an_owner() {
    let pool = pool_on(
        &TestServer::new(),
        pinned(|options| {
            options.max_session_age = HOUR;
            options.max_idle_time = HOUR;
        }),
    );
    let scope = pool.scope();
    let id = used(&pool, &scope).await;
    sleep(48 * HOUR).await;
    assert_eq!(used(&pool, &scope).await, id);
    drop(scope);
    at_rest().await;
    let status = assert_balanced(&pool);
    assert_eq!(status.closed.get(&CloseReason::ScopeEnded), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn it_makes_room_neither_for_another_pool_nor_for_a_smaller_maximum() {
    let budget = Budget::new(1, 1);
    let server = TestServer::new();
    let make = |options| {
        SessionPool::builder("server", Scripted::new(&server, |_| Step::Open))
            .options(options)
            .budget(budget.clone())
            .build()
            .unwrap()
    };
    let pool = make(pinned(|options| options.max_connections = 3));
    let scope = pool.scope();
    let id = used(&pool, &scope).await;
    let other = make(quiet_with(|_| {}));
    assert!(timeout(HOUR, other.acquire()).await.unwrap().is_err());
    budget.configure(10, 1);
    let second = pool.scope();
    let other_id = used(&pool, &second).await;
    pool.configure(pinned(|options| options.max_connections = 1))
        .unwrap();
    pool.evict_stateless();
    at_rest().await;
    assert_eq!(used(&pool, &scope).await, id);
    assert_eq!(used(&pool, &second).await, other_id);
}

#[tokio::test(start_paused = true)]
async fn who_lost_its_state_is_told_once_and_why_and_then_given_a_fresh_session() {
    let pool = pool_on(&TestServer::new(), pinned(|_| {}));
    let (scope, other) = (pool.scope(), pool.scope());
    let (id, untouched) = (used(&pool, &scope).await, used(&pool, &other).await);
    assert!(pool.evict(id));
    at_rest().await;
    for _ in 0..3 {
        // What goes on beside the calls hears of it and takes nothing from them.
        let background = pool.acquire_in_background(Some(&scope)).await;
        assert_eq!(reason(background), CloseReason::Evicted);
    }
    assert_eq!(reason(pool.acquire_in(&scope).await), CloseReason::Evicted);
    assert_ne!(used(&pool, &scope).await, id);
    assert_eq!(used(&pool, &other).await, untouched);
}

#[tokio::test(start_paused = true)]
async fn the_first_who_waits_for_a_session_that_ends_is_told_and_the_next_is_given_a_fresh_one() {
    let pool = pool_on(
        &TestServer::new(),
        pinned(|options| options.max_in_flight = 1),
    );
    let scope = pool.scope();
    let held = pool.acquire_in(&scope).await.unwrap();
    let id = held.id();
    echo(&held).await;
    let wait = || async { pool.acquire_in(&scope).await };
    let (first, second, ()) = tokio::join!(
        wait(),
        async {
            sleep(Duration::from_secs(1)).await;
            wait().await
        },
        async {
            sleep(Duration::from_secs(2)).await;
            pool.evict(id);
        }
    );
    assert_eq!(reason(first), CloseReason::Evicted);
    assert_ne!(second.unwrap().id(), id);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_has_only_listed_had_no_state_to_lose() {
    let pool = pool_on(&TestServer::new(), pinned(|_| {}));
    let scope = pool.scope();
    let lease = pool.acquire_in(&scope).await.unwrap();
    lease.list_all_tools().await.unwrap();
    drop(lease);
    pool.evict_all();
    at_rest().await;
    used(&pool, &scope).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_is_killed_while_its_scope_rests_is_told_to_the_next_caller_alone() {
    use common::{closed, observed, servers::server, within};
    let (pool, events) = observed(server(""), pinned(|_| {}));
    let scope = pool.scope();
    let lease = within(pool.acquire_in(&scope)).await.unwrap();
    let (pid, id) = (lease.pid().unwrap(), lease.id());
    echo(&lease).await;
    drop(lease);
    mcp_testkit::process::signal(pid, rustix::process::Signal::KILL).unwrap();
    within(events.wait_for(1, closed)).await;
    let reported = within(pool.acquire_in(&scope)).await;
    assert_eq!(reason(reported), CloseReason::Broken);
    assert_ne!(within(pool.acquire_in(&scope)).await.unwrap().id(), id);
    within(pool.close()).await;
}
