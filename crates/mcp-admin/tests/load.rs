//! A thousand scrapes and a hundred readers, half of whom never read: calls go on, and memory stays bounded.
//!
//! How much slower calls become is for the bench `b14_watched` to say. In a program of its own, because memory is that of the
//! process.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests: tasks are joined here, and a panic is a verdict"
)]

#[path = "it/common/mod.rs"]
mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{LONG, Served, in_process};
use mcp_pooled_tools::{PoolSettings, config::Lifecycle};
use mcp_testkit::{TestServer, memory::resident};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

const MIB: usize = 1 << 20;

async fn stream(served: &Served) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let request = "GET /api/v1/mcp/events?snapshots=true HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    // From here on it is told of everything.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_scrapes_and_a_hundred_readers_fail_no_call_and_fill_no_memory() {
    let settings = PoolSettings::new().lifecycle(Lifecycle::Initialize);
    let served = Served::start(in_process(&TestServer::new(), settings).await, |admin| {
        admin
    })
    .await;
    let tools = served.manager.tools("test").unwrap();
    tools.call("echo", json!({ "message": "m" })).await.unwrap();

    let mut idle = Vec::new();
    let mut reading = JoinSet::new();
    let read = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        idle.push(stream(&served).await);
        let (mut stream, read) = (stream(&served).await, Arc::clone(&read));
        reading.spawn(async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                read.fetch_add(length, Relaxed);
            }
        });
    }
    let scrape = async |path: &str| {
        let response = served.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.text().await.unwrap().is_empty());
    };
    scrape("/metrics").await;
    let before = resident();

    let over = Arc::new(AtomicBool::new(false));
    let calling = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut calls = 0;
            while !over.load(Relaxed) {
                tools.call("echo", json!({ "message": "m" })).await.unwrap();
                calls += 1;
            }
            calls
        }
    });
    let scrapes = async {
        for _ in 0..250 {
            tokio::join!(
                scrape("/metrics"),
                scrape("/api/v1/mcp/metrics/summary"),
                scrape("/metrics"),
                scrape("/api/v1/mcp/pools/test"),
            );
        }
    };
    // More than twice as many events as are kept for slow readers.
    let events = async {
        for _ in 0..2_500 {
            served.manager.check_health("test").await.unwrap();
        }
    };
    timeout(3 * LONG, async { tokio::join!(scrapes, events) })
        .await
        .expect("no call waits for slow readers");
    over.store(true, Relaxed);
    let calls = timeout(LONG, calling).await.unwrap().unwrap();
    assert!(calls > 100, "{calls}");
    // Of 2,500 events of over 100 bytes each. If each reader had those it does not read kept for itself, 12 MB and more
    // would be held now.
    let grown = resident().saturating_sub(before);
    assert!(grown < 10 * MIB, "grown by {} MiB", grown / MIB);
    assert!(
        read.load(Relaxed) > 3 * MIB,
        "those who read were reported: {read:?}"
    );

    served.end().await;
    let ended = async { while reading.join_next().await.is_some() {} };
    timeout(Duration::from_secs(20), ended)
        .await
        .expect("streams end");
    drop(idle);
}
