//! First come, first served, for any number of callers.

use crate::common;
use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll, time::Duration};

use common::{assert_balanced, call, pool_on, quiet_with};
use mcp_pool_core::{PoolOptions, SharingMode};
use mcp_testkit::TestServer;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinSet;

fn ten_exclusive_sessions() -> PoolOptions {
    quiet_with(|options| {
        options.max_connections = 10;
        options.sharing = SharingMode::Exclusive;
        options.connection_timeout = Duration::from_secs(600);
    })
}

/// Sends so many callers, in a known order, and returns the order in which they were served.
async fn order_of_service(callers: usize) -> Vec<usize> {
    let pool = pool_on(&TestServer::new(), ten_exclusive_sessions());
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for number in 0..callers {
        let (pool, served) = (pool.clone(), Arc::clone(&served));
        tasks.spawn(async move {
            let lease = pool.acquire().await.expect("everybody is served");
            served.lock().push(number);
            let answer = call(&lease, "sleep", json!({"ms": 20 + number % 7})).await;
            assert!(answer.is_ok(), "{answer:?}");
        });
        // The task has run up to its place in line before the next one comes.
        tokio::task::yield_now().await;
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let status = assert_balanced(&pool);
    assert!(status.opened <= 10, "{status:#?}");
    assert_eq!(status.pool_hits + status.pool_misses, callers as u64);
    Arc::into_inner(served).unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn pain_27_eleven_callers_on_ten_sessions_are_served_in_the_order_of_their_arrival() {
    assert!(order_of_service(11).await.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn twenty_callers_on_ten_sessions_are_served_in_the_order_of_their_arrival() {
    assert!(order_of_service(20).await.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_on_ten_sessions_are_served_in_the_order_of_their_arrival() {
    let order = order_of_service(1_000).await;
    assert_eq!(order.len(), 1_000);
    assert!(order.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_those_who_wait() {
    let pool = pool_on(
        &TestServer::new(),
        quiet_with(|options| {
            options.max_connections = 1;
            options.sharing = SharingMode::Exclusive;
        }),
    );
    let held = pool.acquire().await.unwrap();
    let waiting = common::acquire_apart(&pool);
    common::at_rest().await;
    drop(held);
    // The place is free in no moment: it belongs to the one who waits, though it has not run yet.
    let newcomer = common::acquire_apart(&pool);
    common::at_rest().await;
    assert!(waiting.is_finished() && !newcomer.is_finished());
    drop(waiting.await.unwrap());
    drop(newcomer.await.unwrap());
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_wants_a_session_whole_is_served_in_its_turn() {
    let pool = pool_on(
        &TestServer::new(),
        quiet_with(|options| {
            options.max_connections = 1;
            options.sharing = SharingMode::Exclusive;
        }),
    );
    let order = Arc::new(Mutex::new(Vec::new()));
    let held = pool.acquire().await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..9 {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        tasks.spawn(async move {
            match number % 3 {
                0 => {
                    let _whole = pool.pin().await.unwrap();
                    order.lock().push(number);
                }
                _ => {
                    let _place = pool.acquire().await.unwrap();
                    order.lock().push(number);
                }
            }
        });
        tokio::task::yield_now().await;
    }
    drop(held);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(*order.lock(), (0..9).collect::<Vec<_>>());
    assert_balanced(&pool);
}

/// Polls once, from the task that asks.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

fn one_exclusive_session() -> PoolOptions {
    quiet_with(|options| {
        options.max_connections = 1;
        options.sharing = SharingMode::Exclusive;
    })
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_moves_to_another_task_while_it_waits_is_woken_there() {
    let pool = pool_on(&TestServer::new(), one_exclusive_session());
    let held = pool.acquire().await.unwrap();
    let mut waiting = Box::pin({
        let pool = pool.clone();
        async move { pool.acquire().await.map(drop) }
    });
    assert!(poll_once(waiting.as_mut()).await.is_none());
    let elsewhere = tokio::spawn(waiting);
    common::at_rest().await;
    drop(held);
    elsewhere.await.unwrap().unwrap();
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_place_given_to_a_caller_that_never_looks_again_goes_to_the_next() {
    let pool = pool_on(&TestServer::new(), one_exclusive_session());
    let held = pool.acquire().await.unwrap();
    let mut first = Box::pin(pool.acquire());
    assert!(poll_once(first.as_mut()).await.is_none());
    let next = common::acquire_apart(&pool);
    common::at_rest().await;
    // Given to the first in this moment, which is not polled any more.
    drop(held);
    common::at_rest().await;
    assert!(!next.is_finished());
    drop(first);
    drop(next.await.unwrap());
    assert_balanced(&pool);
}
