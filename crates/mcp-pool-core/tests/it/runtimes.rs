//! A pool outlives the runtime on which it was used, and is dropped on threads without one. No place is lost.

use crate::common;
use std::{thread, time::Duration};

use common::{
    Scripted, Step, acquire_apart, assert_all_places_work, assert_balanced, pool_of, pool_on,
    quiet_with, within,
};
use mcp_pool_core::{SessionPool, SharingMode};
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

/// One session is kept, so every loss asks for an opening.
fn eager(max_connections: u32) -> SessionPool {
    let options = quiet_with(|options| {
        options.min_connections = 1;
        options.max_connections = max_connections;
    });
    pool_of(Scripted::always(Step::Open), options)
}

#[test]
fn a_session_evicted_by_a_plain_thread_is_replaced() {
    let (pool, runtime) = (eager(1), runtime());
    let session = runtime.block_on(async { pool.acquire().await.unwrap().id() });
    assert!(pool.evict(session));
    let next = runtime.block_on(async { within(pool.acquire()).await.unwrap().id() });
    assert_ne!(session, next);
    runtime.block_on(async { assert_all_places_work(&pool).await });
}

#[test]
fn a_lease_dropped_by_a_plain_thread_after_its_session_was_evicted_leaves_room() {
    let (pool, runtime) = (eager(1), runtime());
    let lease = runtime.block_on(pool.acquire()).unwrap();
    pool.evict(lease.id());
    thread::spawn(move || drop(lease)).join().unwrap();
    runtime.block_on(async { within(pool.acquire()).await.map(drop).unwrap() });
}

#[test]
fn a_pool_that_was_never_used_takes_every_order_of_a_plain_thread() {
    let pool = eager(2);
    pool.warm_up();
    pool.suspend();
    pool.resume();
    pool.configure(pool.options()).unwrap();
    pool.evict_all();
    assert_eq!(pool.status().connections.total, 0);
    runtime().block_on(async {
        within(pool.acquire()).await.map(drop).unwrap();
        assert_all_places_work(&pool).await;
    });
}

#[test]
fn a_pool_whose_runtime_has_ended_works_on_another() {
    let pool = eager(1);
    for _ in 0..3 {
        let runtime = runtime();
        runtime.block_on(async {
            within(pool.acquire()).await.map(drop).unwrap();
            assert_all_places_work(&pool).await;
        });
        drop(runtime);
        assert_eq!(pool.status().connections.total, 0);
        assert_balanced(&pool);
    }
}

#[test]
fn an_opening_that_ended_with_its_runtime_is_begun_again_on_another() {
    let connector = Scripted::new(&mcp_testkit::TestServer::new(), |number| {
        if number == 1 { Step::Never } else { Step::Open }
    });
    let pool = pool_of(
        connector.clone(),
        quiet_with(|options| {
            options.max_connections = 1;
        }),
    );
    let first = runtime();
    first.block_on(async {
        let _waiting = acquire_apart(&pool);
        connector.wait_begun(1).await;
    });
    drop(first);
    assert_eq!(pool.status().connections.total, 0);
    runtime().block_on(async { within(pool.acquire()).await.map(drop).unwrap() });
}

#[test]
fn a_runtime_that_ends_takes_nothing_from_callers_on_another() {
    let (pool, first, second) = (eager(1), runtime(), runtime());
    let lease = first.block_on(pool.acquire()).unwrap();
    let pinning = {
        let pool = pool.clone();
        second.spawn(async move { pool.pin().await.map(drop) })
    };
    while pool.status().waiters == 0 {
        thread::yield_now();
    }
    drop(first);
    drop(lease);
    second.block_on(async { within(pinning).await.unwrap().unwrap() });
}

#[test]
fn a_pool_can_be_closed_after_its_runtime_has_ended() {
    let (pool, first) = (eager(1), runtime());
    first.block_on(async { pool.acquire().await.map(drop).unwrap() });
    first.shutdown_timeout(Duration::ZERO);
    runtime().block_on(async { within(pool.close()).await });
    assert_balanced(&pool);
}

#[test]
fn a_caller_is_served_on_its_runtime_after_the_one_with_the_only_session_has_ended() {
    let options = quiet_with(|options| {
        options.max_connections = 1;
        options.sharing = SharingMode::Exclusive;
    });
    let pool = pool_of(Scripted::always(Step::Open), options);
    let (first, second) = (runtime(), runtime());
    let acquire = || {
        let pool = pool.clone();
        async move { pool.acquire().await }
    };
    let held = first.block_on(acquire()).unwrap();
    let waiting = second.spawn(acquire());
    wait_until(|| pool.status().waiters == 1);
    // The pool opens sessions where a caller last began to wait.
    let _in_line = first.spawn(acquire());
    wait_until(|| pool.status().waiters == 2);
    drop(first);
    drop(held);
    second.block_on(async { within(waiting).await.unwrap().map(drop).unwrap() });
}

#[test]
fn a_runtime_that_was_left_takes_nothing_with_it_but_its_sessions() {
    let connector = Scripted::new(&mcp_testkit::TestServer::new(), |number| {
        if number == 2 { Step::Never } else { Step::Open }
    });
    let options = quiet_with(|options| {
        options.min_connections = 2;
        options.max_connecting = 2;
        options.sharing = SharingMode::Exclusive;
    });
    let (pool, first, second) = (pool_of(connector.clone(), options), runtime(), runtime());
    first.block_on(async {
        pool.warm_up();
        connector.wait_begun(2).await;
    });
    wait_until(|| pool.status().connections.idle == 1);
    // The second runtime is the pool's from the moment in which a caller waits there.
    second.block_on(async {
        let held = within(pool.acquire()).await.unwrap();
        let waiting = acquire_apart(&pool);
        while pool.status().waiters == 0 {
            tokio::task::yield_now().await;
        }
        drop(held);
        drop(within(waiting).await.unwrap().unwrap());
    });
    drop(first);
    // Without callers the minimum is kept all the same.
    let began = std::time::Instant::now();
    while pool.status().connections.idle < 2 {
        let status = pool.status();
        assert!(began.elapsed() < common::SOON, "{status:#?}");
        thread::yield_now();
    }
    second.block_on(async { within(pool.close()).await });
}

#[test]
fn a_probe_that_ended_with_its_runtime_is_made_again_on_another() {
    let server = mcp_testkit::TestServer::new();
    let options = quiet_with(|options| {
        options.max_connections = 1;
        options.probe_timeout = Duration::from_millis(300);
    });
    let (pool, first, second) = (pool_on(&server, options), runtime(), runtime());
    let lease = second.block_on(pool.acquire()).unwrap();
    // The pool moves to the first runtime, which ends.
    let _elsewhere = first.spawn({
        let pool = pool.clone();
        async move { pool.pin().await.map(drop) }
    });
    wait_until(|| pool.status().waiters == 1);
    drop(first);
    {
        let _enter = second.enter();
        // Out of time: the session has a probe to answer, for which there is no runtime.
        drop(lease.begin_call(Some(tokio::time::Instant::now())));
    }
    drop(lease);
    second.block_on(async { within(pool.acquire()).await.map(drop).unwrap() });
    assert_eq!(pool.status().opened, 1, "the session answers its probe");
}

fn wait_until(reached: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !reached() {
        assert!(began.elapsed() < common::SOON, "it has not come to that");
        thread::yield_now();
    }
}
