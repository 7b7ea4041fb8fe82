//! What keeps a real server from opening is told to all who wait, as soon as it is known.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests: the wall clock is measured, and a panic is a verdict"
)]

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use mcp_pool_core::{
    AcquireError, Connector, OpenErrorKind, PoolEvent, PoolOptions, SessionPool,
    connect::{http::Http, stdio::Stdio},
};
use mcp_testkit::{HttpOptions, HttpServer};

/// Five callers wait; each has the cause within 100 ms of the moment in which the pool had it.
async fn told_within_100_ms(connector: impl Connector, kind: OpenErrorKind) {
    let known = Arc::new(OnceLock::new());
    let noted = Arc::clone(&known);
    let mut options = PoolOptions::default();
    options.retry_attempts = 0;
    let pool = SessionPool::builder("test", connector)
        .options(options)
        .observer(move |event: &PoolEvent| {
            if matches!(event, PoolEvent::OpenAttemptFailed { .. }) {
                let _ = noted.set(Instant::now());
            }
        })
        .build()
        .unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let pool = pool.clone();
        callers.spawn(async move { (pool.acquire().await.map(drop), Instant::now()) });
    }
    for (outcome, told) in callers.join_all().await {
        let Err(AcquireError::Open { cause, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(cause.kind(), kind, "{cause}");
        let late = told
            .saturating_duration_since(*known.get().expect("it was told to the observer first"));
        assert!(
            late < Duration::from_millis(100),
            "{kind:?} was told after {late:?}"
        );
    }
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_does_not_start_or_exits_is_told_within_100_ms() {
    told_within_100_ms(
        Stdio::new("no-such-command-anywhere"),
        OpenErrorKind::CommandNotFound,
    )
    .await;
    let exits = Stdio::new("sh").args(["-c", "echo no licence >&2; exit 3"]);
    told_within_100_ms(exits, OpenErrorKind::ProcessExited).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_and_a_refused_connection_are_told_within_100_ms() {
    for (status, kind) in [
        (401, OpenErrorKind::Unauthorized),
        (404, OpenErrorKind::Http(404)),
        (500, OpenErrorKind::Http(500)),
    ] {
        let server = HttpServer::start(HttpOptions {
            status: Some(status),
            ..HttpOptions::default()
        })
        .await;
        told_within_100_ms(Http::new(server.url()).unwrap(), kind).await;
    }
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    told_within_100_ms(
        Http::new(format!("http://{unused}/mcp")).unwrap(),
        OpenErrorKind::Unreachable,
    )
    .await;
}
