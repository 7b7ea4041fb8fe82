//! Servers spoken to over streamable HTTP.

use crate::common;
use std::{sync::Arc, time::Duration};

use common::{
    assert_balanced, call, closed, echo, observed, opened, pool_of, quiet, quiet_with, within,
};
use mcp_pool_core::{
    AcquireError, CallFailure, CloseReason, Handshake, OpenErrorKind, PoolEvent, ServerListener,
    SessionPool, connect::http::Http, rmcp::model::ServerNotification,
};
use mcp_testkit::{Era, HttpOptions, HttpServer, Lateness};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet, time::Instant};

async fn serve(change: impl FnOnce(&mut HttpOptions)) -> HttpServer {
    let mut options = HttpOptions::default();
    change(&mut options);
    HttpServer::start(options).await
}

async fn of_era(era: Era) -> HttpServer {
    serve(|options| options.era = era).await
}

fn connector(server: &HttpServer) -> Http {
    Http::new(server.url()).unwrap()
}

async fn calls(pool: &SessionPool, number: usize) {
    for _ in 0..number {
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(echo(&lease).await, "hello");
    }
}

#[tokio::test]
async fn a_token_is_sent_with_every_request_and_shown_nowhere() {
    let server = serve(|options| options.bearer = Some("s3cret".into())).await;
    let authorised = connector(&server)
        .header("Authorization", "Bearer s3cret")
        .unwrap();
    assert!(!format!("{authorised:?}").contains("s3cret"));
    let pool = pool_of(authorised, quiet());
    calls(&pool, 3).await;
    within(pool.close()).await;

    let pool = pool_of(connector(&server), quiet());
    let error = within(pool.acquire()).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Open { cause, .. } if cause.is_authentication()));
}

#[tokio::test]
async fn calls_share_kept_connections() {
    for era in [Era::Legacy, Era::Modern] {
        let server = of_era(era).await;
        let pool = pool_of(connector(&server), quiet());
        calls(&pool, 64).await;
        let streams = server.gets();
        let for_calls = server.connections() - streams;
        assert!(
            for_calls <= 3,
            "{era}: {for_calls} connections for 64 calls"
        );

        // As many at once need as many connections, once.
        let burst = async || {
            let mut tasks = JoinSet::new();
            for _ in 0..16 {
                let pool = pool.clone();
                tasks.spawn(async move {
                    let lease = pool.acquire().await.unwrap();
                    call(&lease, "sleep", json!({"ms": 10})).await.unwrap();
                });
            }
            while let Some(done) = within(tasks.join_next()).await {
                done.unwrap();
            }
        };
        for _ in 0..8 {
            burst().await;
        }
        // A burst may come before the connections of the last one are back: twice as many, then, and not 128.
        assert!(
            server.connections() <= 2 * 16 + 6,
            "{era}: {}",
            server.connections()
        );
        within(pool.close()).await;
        assert_balanced(&pool);
    }
}

#[tokio::test]
async fn more_calls_at_once_than_rmcp_allows_by_itself_are_not_queued() {
    let server = of_era(Era::Modern).await;
    let connector = connector(&server).max_in_flight(64);
    let pool = pool_of(
        connector,
        quiet_with(|options| {
            options.max_in_flight = 64;
            options.scale_up_at = 64;
        }),
    );
    calls(&pool, 1).await;
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let pool = pool.clone();
        tasks.spawn(async move {
            let lease = pool.acquire().await.unwrap();
            call(&lease, "sleep", json!({"ms": 60_000})).await.unwrap();
        });
    }
    // All are with the server before any has ended.
    within(async {
        while server.server().calls_of("sleep") < 64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    tasks.shutdown().await;
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test]
async fn pain_19_a_session_is_ended_on_the_server_when_it_closes() {
    let server = of_era(Era::Legacy).await;
    let (pool, events) = observed(connector(&server), quiet());
    calls(&pool, 2).await;
    pool.evict(pool.sessions()[0].id());
    events.wait_for(1, closed).await;
    assert_eq!(server.deletes(), 1);
    calls(&pool, 2).await;
    let (machine, began) = (Lateness::watch(), Instant::now());
    within(pool.close()).await;
    machine.assert_within(Duration::from_secs(1), began.elapsed());
    assert_eq!(server.deletes(), 2);
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test]
async fn a_server_that_forgot_its_sessions_costs_one_reopening_that_is_counted() {
    let mut server = of_era(Era::Legacy).await;
    let (pool, events) = observed(connector(&server), quiet());
    calls(&pool, 3).await;
    server.restart().await;
    calls(&pool, 5).await;
    let status = assert_balanced(&pool);
    assert_eq!((status.reinitialized, status.opened), (1, 1), "{status:#?}");
    let reported = |event: &PoolEvent| matches!(event, PoolEvent::Reinitialized { .. });
    events.wait_for(1, reported).await;
    assert_eq!(events.count(reported), 1);
    assert_eq!(server.server().initializations(), 2);
    within(pool.close()).await;
    assert_eq!(
        pool.status().reinitialized,
        status.reinitialized,
        "not forgotten with the session"
    );
}

#[tokio::test]
async fn calls_that_find_their_session_forgotten_together_cost_one_reopening_together() {
    let mut server = of_era(Era::Legacy).await;
    let pool = pool_of(
        connector(&server),
        quiet_with(|options| options.max_connections = 1),
    );
    calls(&pool, 1).await;
    server.restart().await;
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let lease = within(pool.acquire()).await.unwrap();
        tasks.spawn(async move { echo(&lease).await });
    }
    while let Some(answer) = within(tasks.join_next()).await {
        assert_eq!(answer.unwrap(), "hello");
    }
    let status = assert_balanced(&pool);
    assert_eq!((status.reinitialized, status.opened), (1, 1), "{status:#?}");
    assert_eq!(server.server().initializations(), 2);
    within(pool.close()).await;
}

#[tokio::test]
async fn where_state_matters_a_forgotten_session_ends() {
    let mut server = of_era(Era::Legacy).await;
    let (pool, events) = observed(connector(&server).reopen_forgotten(false), quiet());
    calls(&pool, 1).await;
    server.restart().await;
    let lease = within(pool.acquire()).await.unwrap();
    let guard = lease.begin_call(None);
    let answer = within(call(&lease, "echo", json!({"message": "hello"}))).await;
    let failure = guard.failed(&answer.expect_err("the session is not what it was"));
    assert_eq!(failure, CallFailure::NotSent);
    let forgotten = lease.id();
    drop(lease);
    let lease = within(pool.acquire()).await.unwrap();
    assert_ne!(lease.id(), forgotten);
    assert_eq!(echo(&lease).await, "hello");
    drop(lease);
    events.wait_for(1, closed).await;
    let status = assert_balanced(&pool);
    assert_eq!((status.reinitialized, status.opened), (0, 2), "{status:#?}");
    assert_eq!(status.closed.get(&CloseReason::Broken), Some(&1));
    within(pool.close()).await;
}

#[tokio::test]
async fn a_modern_server_that_restarts_is_not_even_noticed() {
    let mut server = of_era(Era::Modern).await;
    let (pool, events) = observed(connector(&server), quiet());
    calls(&pool, 3).await;
    server.restart().await;
    calls(&pool, 3).await;
    assert_eq!(events.count(opened), 1);
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[tokio::test]
async fn credentials_that_are_refused_in_mid_life_are_told_as_that() {
    for (status, kind) in [
        (401, OpenErrorKind::Unauthorized),
        (403, OpenErrorKind::Forbidden),
    ] {
        for era in [Era::Legacy, Era::Modern] {
            let mut server = of_era(era).await;
            let pool = pool_of(connector(&server), quiet());
            calls(&pool, 1).await;
            server.stop().await;
            let address = server.address();
            let _refusing = serve(|options| {
                options.address = address;
                options.status = Some(status);
            })
            .await;
            let lease = within(pool.acquire()).await.unwrap();
            let guard = lease.begin_call(None);
            let answer = within(call(&lease, "echo", json!({"message": "hello"}))).await;
            let failure = guard.failed(&answer.unwrap_err());
            assert_eq!(failure, CallFailure::Rejected(kind), "{status} {era}");
            drop(lease);
            within(pool.close()).await;
            assert_balanced(&pool);
        }
    }
}

#[tokio::test]
async fn a_server_that_is_gone_fails_its_calls_as_not_sent() {
    let mut server = of_era(Era::Modern).await;
    let pool = pool_of(connector(&server), quiet());
    calls(&pool, 1).await;
    server.stop().await;
    let lease = within(pool.acquire()).await.unwrap();
    let guard = lease.begin_call(None);
    let answer = within(call(&lease, "echo", json!({"message": "hello"}))).await;
    assert_eq!(guard.failed(&answer.unwrap_err()), CallFailure::NotSent);
    drop(lease);
    server.restart().await;
    calls(&pool, 1).await;
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_a_call_loses_that_call_only() {
    let server = of_era(Era::Modern).await;
    let pool = pool_of(connector(&server), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let guard = lease.begin_call(None);
    let hanging = call(&lease, "sleep", json!({"ms": 60_000}));
    let cut = async {
        while server.server().calls_of("sleep") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.cut().await;
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = within(hanging) => answer,
        () = cut => unreachable!(),
    };
    assert_eq!(guard.failed(&answer.unwrap_err()), CallFailure::Lost);
    drop(lease);
    calls(&pool, 1).await;
    within(pool.close()).await;
    assert_eq!(
        assert_balanced(&pool).closed.get(&CloseReason::Broken),
        None
    );
}

/// Counts the changes of tool lists that a session hears of.
#[derive(Default)]
struct Heard(watch::Sender<usize>);

impl ServerListener for Heard {
    fn on_notification(&self, notification: &ServerNotification) {
        if let ServerNotification::ToolListChangedNotification(_) = notification {
            self.0.send_modify(|times| *times += 1);
        }
    }
}

#[tokio::test]
async fn pain_22_a_stream_that_was_cut_while_idle_is_reopened_unseen() {
    let server = of_era(Era::Legacy).await;
    let heard = Arc::new(Heard::default());
    let pool = SessionPool::builder("server", connector(&server))
        .options(quiet())
        .handshake(Handshake::default().listener(heard.clone()))
        .build()
        .unwrap();
    calls(&pool, 1).await;
    let streams = async |number| {
        while server.gets() < number {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(streams(1)).await;
    // As a proxy does to a connection on which nothing has passed for minutes.
    server.cut().await;
    within(streams(2)).await;

    let other = pool_of(connector(&server), quiet());
    let lease = within(other.acquire()).await.unwrap();
    let mut times = heard.0.subscribe();
    within(call(&lease, "set_tools", json!({"names": ["echo"]})))
        .await
        .unwrap();
    within(times.wait_for(|times| *times > 0)).await.unwrap();
    drop(lease);
    calls(&pool, 3).await;
    let status = assert_balanced(&pool);
    assert_eq!((status.opened, status.reinitialized), (1, 0), "{status:#?}");
    assert!(status.closed.is_empty() && status.errors.is_empty());
    within(other.close()).await;
    within(pool.close()).await;
}

/// A reply in two writes, the second of which waits for the acknowledgement of the first.
#[tokio::test]
async fn a_server_without_tcp_nodelay_does_not_stall_calls_on_kept_connections() {
    for era in [Era::Legacy, Era::Modern] {
        let mut pools = Vec::new();
        for nodelay in [true, false] {
            let server = serve(|options| {
                options.era = era;
                options.nodelay = nodelay;
            });
            let server = server.await;
            pools.push((pool_of(connector(&server), quiet()), server, Vec::new()));
        }
        for _ in 0..25 {
            for (pool, _, times) in &mut pools {
                let lease = within(pool.acquire()).await.unwrap();
                let began = Instant::now();
                assert_eq!(echo(&lease).await, "hello");
                times.push(began.elapsed());
            }
        }
        let medians = pools.iter_mut().map(|(_, _, times)| {
            times.sort();
            times[times.len() / 2]
        });
        let medians: Vec<_> = medians.collect();
        // A delayed acknowledgement adds 40 ms to a few.
        assert!(medians[1] < 5 * medians[0], "{era}: {medians:?}");
        for (pool, server, _) in pools {
            within(pool.close()).await;
            assert_balanced(&pool);
            drop(server);
        }
    }
}
