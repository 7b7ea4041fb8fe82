//! Sharing modes: which callers may share a session.

use crate::common;
use std::time::Duration;

use common::{
    Scripted, Step, assert_balanced, at_rest, call, closed, echo, observed, options, pool_of,
    pool_on, quiet_with, within,
};
use mcp_pool_core::{CloseReason, PoolOptions, Session, SessionPool, SharingMode};
use mcp_testkit::{Era, Faults, Options, TestServer};
use serde_json::json;
use tokio::task::JoinSet;

fn of(sharing: SharingMode) -> PoolOptions {
    quiet_with(|options| options.sharing = sharing)
}

/// The server's own number of the session.
async fn number(session: &Session) -> u64 {
    let who = within(call(session, "whoami", json!({}))).await.unwrap();
    who.structured_content.unwrap()["session"].as_u64().unwrap()
}

fn stateful() -> TestServer {
    TestServer::with_options(Options {
        era: Era::Legacy,
        ..Options::default()
    })
}

async fn overlapping_calls(sharing: SharingMode) -> (u64, usize) {
    let server = TestServer::with_faults(Faults {
        forbid_overlap: true,
        ..Faults::default()
    });
    let mut options = of(sharing);
    options.max_connections = 1;
    let pool = pool_on(&server, options);
    let mut tasks = JoinSet::new();
    for _ in 0..50 {
        let pool = pool.clone();
        tasks.spawn(async move {
            let lease = pool.acquire().await.unwrap();
            let answer = call(&lease, "sleep", json!({"ms": 10})).await.unwrap();
            answer.is_error == Some(true)
        });
    }
    let mut errors = 0;
    while let Some(error) = tasks.join_next().await {
        errors += usize::from(error.unwrap());
    }
    assert_eq!(assert_balanced(&pool).opened, 1);
    (server.stats().overlaps, errors)
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_session_runs_one_call_at_a_time() {
    assert_eq!(overlapping_calls(SharingMode::Exclusive).await, (0, 0));
    // The server does notice: a shared session would have shown.
    let (overlaps, errors) = overlapping_calls(SharingMode::Multiplexed).await;
    assert!(overlaps > 0 && errors > 0, "{overlaps} {errors}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn exclusive_sessions_of_several_processes_run_one_call_each() {
    let connector = common::servers::server("--forbid-overlap");
    let pool = pool_of(connector, {
        let mut options = of(SharingMode::Exclusive);
        options.max_connections = 3;
        options
    });
    let mut tasks = JoinSet::new();
    for _ in 0..60 {
        let pool = pool.clone();
        tasks.spawn(async move {
            let lease = pool.acquire().await.unwrap();
            call(&lease, "sleep", json!({"ms": 5})).await.unwrap()
        });
    }
    while let Some(answer) = within(tasks.join_next()).await {
        let answer = answer.unwrap();
        assert_ne!(answer.is_error, Some(true), "{answer:?}");
    }
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn pain_11_a_slow_call_holds_up_no_other_on_its_session() {
    let mut options = of(SharingMode::Multiplexed);
    options.max_connections = 1;
    let pool = pool_of(common::servers::server(""), options);
    let slow = within(pool.acquire()).await.unwrap();
    let session = slow.id();
    let mut calling = JoinSet::new();
    calling.spawn(async move { call(&slow, "sleep", json!({"ms": 60_000})).await });
    for _ in 0..20 {
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(lease.id(), session);
        assert_eq!(echo(&lease).await, "hello");
    }
    assert!(calling.try_join_next().is_none(), "it was not slow");
    calling.shutdown().await;
    within(pool.close()).await;
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_session_stays_with_its_scope() {
    let (pool, events) = observed(
        Scripted::new(&stateful(), |_| Step::Open),
        of(SharingMode::Pinned),
    );
    let (ours, theirs) = (pool.scope(), pool.scope());
    let our_number = number(&pool.acquire_in(&ours).await.unwrap()).await;
    let their_number = number(&pool.acquire_in(&theirs).await.unwrap()).await;
    assert_ne!(our_number, their_number);
    for _ in 0..10 {
        assert_eq!(
            number(&pool.acquire_in(&ours).await.unwrap()).await,
            our_number
        );
        assert_eq!(
            number(&pool.acquire_in(&theirs.clone()).await.unwrap()).await,
            their_number
        );
    }
    assert_eq!(pool.status().opened, 2);

    drop(ours);
    at_rest().await;
    assert_eq!(events.count(closed), 1);
    assert_eq!(pool.status().closed.get(&CloseReason::ScopeEnded), Some(&1));
    // Not even when it would be handy: a new scope has a session of its own.
    let third = pool.scope();
    let third_number = number(&pool.acquire_in(&third).await.unwrap()).await;
    assert!(third_number != our_number && third_number != their_number);
    drop((theirs, third));
    at_rest().await;
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_a_scope_is_a_scope_of_its_own() {
    let pool = pool_on(&stateful(), of(SharingMode::Pinned));
    let (first, second) = (pool.acquire().await.unwrap(), pool.pin().await.unwrap());
    let numbers = (number(&first).await, number(&second).await);
    assert_ne!(numbers.0, numbers.1);
    drop((first, second));
    at_rest().await;
    let status = assert_balanced(&pool);
    assert_eq!(
        status.connections.total, 0,
        "closed, not kept for the next one"
    );
    assert_eq!(status.closed.get(&CloseReason::ScopeEnded), Some(&2));
    let third = pool.acquire().await.unwrap();
    assert!(number(&third).await > numbers.0.max(numbers.1));
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_ends_under_a_lease_lets_it_finish() {
    let pool = pool_on(&stateful(), of(SharingMode::Pinned));
    let scope = pool.scope();
    let lease = pool.acquire_in(&scope).await.unwrap();
    drop(scope);
    at_rest().await;
    assert_eq!(echo(&lease).await, "hello");
    drop(lease);
    at_rest().await;
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_waits_is_served_when_another_ends() {
    let pool = pool_on(&stateful(), {
        let mut options = of(SharingMode::Pinned);
        options.max_connections = 2;
        options
    });
    let mut held = vec![pool.scope(), pool.scope()];
    for scope in &held {
        drop(pool.acquire_in(scope).await.unwrap());
    }
    let third = pool.scope();
    let waiting = {
        let (pool, third) = (pool.clone(), third.clone());
        tokio::spawn(async move { drop(pool.acquire_in(&third).await.unwrap()) })
    };
    at_rest().await;
    assert!(!waiting.is_finished(), "sessions of others are not for it");
    held.pop();
    within(waiting).await.unwrap();
    assert_eq!(assert_balanced(&pool).connections.idle, 2);
}

#[tokio::test(start_paused = true)]
async fn outside_pinned_pools_a_scope_makes_no_difference() {
    let pool = pool_on(&stateful(), of(SharingMode::Multiplexed));
    let (ours, theirs) = (pool.scope(), pool.scope());
    let first = number(&pool.acquire_in(&ours).await.unwrap()).await;
    drop(ours);
    at_rest().await;
    assert_eq!(
        number(&pool.acquire_in(&theirs).await.unwrap()).await,
        first
    );
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn who_pins_a_session_has_it_alone_while_others_share_elsewhere() {
    let pool = pool_on(&stateful(), of(SharingMode::Multiplexed));
    let pinned = pool.pin().await.unwrap();
    let mut shared = Vec::new();
    for _ in 0..16 {
        let lease = within(pool.acquire()).await.unwrap();
        assert_ne!(lease.id(), pinned.id());
        shared.push(lease);
    }
    assert_eq!(echo(&pinned).await, "hello");
    drop(pinned);
    drop(shared);
    assert_balanced(&pool);
}

async fn steady_load(pool: &SessionPool, callers: usize) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for number in 0..callers {
        let pool = pool.clone();
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_millis(7 * number as u64)).await;
            loop {
                let lease = pool.acquire().await.unwrap();
                call(&lease, "sleep", json!({"ms": 100})).await.unwrap();
            }
        });
    }
    at_rest().await;
    tasks
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_session_alone_does_not_starve_under_a_steady_load() {
    let server = stateful();
    let pool = pool_on(&server, {
        let mut options = of(SharingMode::Multiplexed);
        options.max_connections = 2;
        options
    });
    let load = steady_load(&pool, 24).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..10 {
        let began = tokio::time::Instant::now();
        let pinned = within(pool.pin()).await.unwrap();
        let waited = began.elapsed();
        assert!(waited < Duration::from_millis(300), "{waited:?}");
        let before = server.calls_of("sleep");
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(server.calls_of("sleep") > before + 20, "the others go on");
        let status = pool.status();
        let own = status
            .sessions
            .iter()
            .find(|s| s.id == pinned.id())
            .unwrap();
        assert_eq!(own.in_flight, 1);
    }
    drop(load);
    at_rest().await;
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_pin_in_a_pool_of_one_waits_for_its_calls_and_holds_up_later_ones() {
    let pool = pool_on(&stateful(), {
        let mut options = of(SharingMode::Multiplexed);
        options.max_connections = 1;
        options
    });
    let load = steady_load(&pool, 8).await;
    let pinned = within(pool.pin()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = pool.status();
    assert_eq!((status.in_flight, status.waiters), (1, 8));
    drop(pinned);
    drop(load);
    at_rest().await;
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn an_idle_pinned_session_is_let_go_with_time() {
    let pool = pool_on(
        &stateful(),
        options(|options| {
            options.sharing = SharingMode::Pinned;
            options.max_idle_time = Duration::from_secs(100);
        }),
    );
    let scope = pool.scope();
    drop(pool.acquire_in(&scope).await.unwrap());
    tokio::time::sleep(Duration::from_secs(99)).await;
    assert_eq!(pool.status().connections.idle, 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(assert_balanced(&pool).connections.total, 0);
    drop(pool.acquire_in(&scope).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_session_alone_does_not_wait_for_an_opening_that_hangs() {
    let connector = Scripted::new(&TestServer::new(), |number| match number {
        1 => Step::Open,
        _ => Step::Never,
    });
    let pool = pool_of(
        connector.clone(),
        quiet_with(|options| options.max_connections = 3),
    );
    let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let pinning = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.pin().await })
    };
    connector.wait_begun(2).await;
    drop((first, second));
    at_rest().await;
    assert!(pinning.is_finished());
}

#[tokio::test(start_paused = true)]
async fn who_wants_a_session_alone_is_served_by_an_opening_that_comes_first() {
    let connector = Scripted::always(Step::OpenAfter(Duration::from_secs(1)));
    let pool = pool_of(connector, quiet_with(|_| {}));
    let shared = pool.acquire().await.unwrap();
    let pinned = within(pool.pin()).await.unwrap();
    assert_ne!(shared.id(), pinned.id());
    within(pool.acquire()).await.unwrap();
}

#[tokio::test]
async fn the_scope_of_another_pool_is_no_scope_of_this_one() {
    let pinned = || quiet_with(|options| options.sharing = SharingMode::Pinned);
    let (pool, events) = observed(Scripted::always(Step::Open), pinned());
    let other = pool_of(Scripted::always(Step::Open), pinned());
    let scope = other.scope();
    drop(within(pool.acquire_in(&scope)).await.unwrap());
    // It would not end with its scope.
    events.wait_for(1, closed).await;
    drop(within(pool.pin_in(&scope)).await.unwrap());
    events.wait_for(2, closed).await;
}
