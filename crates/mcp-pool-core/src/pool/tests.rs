//! Unit tests of a pool that need its private state.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use rmcp::ServerHandler;
use tokio::time::sleep;

use super::*;
use crate::connect::in_process::InProcess;

#[derive(Clone)]
struct Server;

impl ServerHandler for Server {}

/// A probe ends in the moment in which its session does, and its key names another by then.
#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_probe_concerns_the_session_that_was_asked_and_no_other() {
    let options = PoolOptions {
        min_connections: 0,
        ..PoolOptions::default()
    };
    let pool = SessionPool::builder("server", InProcess::new(|| Server))
        .options(options)
        .build()
        .unwrap();
    let first = pool.acquire().await.unwrap();
    let (key, asked) = (first.key(), Arc::clone(first.session()));
    drop(first);
    pool.evict_all();
    sleep(Duration::from_secs(10)).await;
    let second = pool.acquire().await.unwrap();
    assert_eq!(second.key(), key, "the key is used again");
    pool.inner().conclude_probe(key, &asked, false);
    assert_eq!(pool.acquire().await.unwrap().id(), second.id());
    assert_eq!(pool.status().closed.get(&CloseReason::ProbeFailed), None);
}

#[tokio::test(start_paused = true)]
async fn bb8_holds_the_sessions_that_are_alive_and_no_others() {
    let options = PoolOptions {
        min_connections: 0,
        sharing: SharingMode::Exclusive,
        ..PoolOptions::default()
    };
    let pool = SessionPool::builder("server", InProcess::new(|| Server))
        .options(options)
        .build()
        .unwrap();
    let held = || pool.inner().slots.held();
    assert_eq!(held(), 0);
    let leases = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    assert_eq!(held(), 2);
    pool.evict(leases[0].id());
    sleep(Duration::from_secs(10)).await;
    assert_eq!(held(), 2, "it closes when its lease is back");
    drop(leases);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(held(), 1);
    pool.close().await;
    assert_eq!(held(), 0);
}
