//! Tokens that expire: callers do not notice a refresh that succeeds.

use crate::common;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use common::{LONG, manager, text};
use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, PoolSettings, PooledTools,
    breaker::State,
    core::{
        CloseReason,
        connect::{BoxFuture, http::Http},
        source::{Asked, SourceError, ValueSource},
    },
};
use mcp_testkit::{Era, HttpServer};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// Keeps a token until a server refuses it, and then has the one that is valid. Clones are the same issuer.
#[derive(Clone, Default)]
struct Issuer(Arc<Inner>);

#[derive(Default)]
struct Inner {
    kept: Mutex<String>,
    valid: Mutex<String>,
    opens: AtomicU64,
    refusals: AtomicU64,
}

impl Issuer {
    fn of(token: &str) -> Self {
        let issuer = Self::default();
        token.clone_into(&mut issuer.0.kept.lock());
        token.clone_into(&mut issuer.0.valid.lock());
        issuer
    }

    /// From now on the server takes this one only, and the issuer would give it if it were asked.
    fn rotate(&self, server: &HttpServer, token: &str) {
        token.clone_into(&mut self.0.valid.lock());
        server.accept_only(token);
    }

    fn refusals(&self) -> u64 {
        self.0.refusals.load(Relaxed)
    }
}

impl ValueSource for Issuer {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async move {
            let mut kept = self.0.kept.lock();
            if asked == Asked::Refused {
                self.0.refusals.fetch_add(1, Relaxed);
                kept.clone_from(&self.0.valid.lock());
            } else {
                self.0.opens.fetch_add(1, Relaxed);
            }
            Ok(format!("Bearer {kept}"))
        })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuer")
    }
}

async fn managed(
    server: &HttpServer,
    issuer: &Issuer,
    settings: PoolSettings,
) -> ConnectionManager {
    let connector = Http::new(server.url())
        .unwrap()
        .header_from("Authorization", Arc::new(issuer.clone()))
        .unwrap();
    ConnectionManager::builder()
        .connector(
            "test",
            connector,
            settings.over(PoolSettings::new().retry_attempts(0).min_connections(0)),
        )
        .build()
        .await
        .unwrap()
}

/// Everything for calls with this token, and one made with it.
async fn begin(
    era: Era,
    token: &str,
    settings: PoolSettings,
) -> (HttpServer, Issuer, ConnectionManager, PooledTools) {
    let server = HttpServer::with_token(era, token).await;
    let issuer = Issuer::of(token);
    let manager = managed(&server, &issuer, settings).await;
    let tools = manager.tools("test").unwrap();
    assert_eq!(count(&tools).await, "1");
    (server, issuer, manager, tools)
}

async fn count(tools: &PooledTools) -> String {
    text(&tools.call("count", json!({})).await.unwrap())
}

fn breaker_is_closed(manager: &ConnectionManager) -> bool {
    let status = manager.status();
    status.servers[0].pools.iter().all(|pool| {
        pool.circuit_breaker_state == State::Closed
            && serde_json::to_value(pool.circuit_breaker).unwrap()["faults"] == json!(0)
    })
}

#[tokio::test]
async fn pain_16_a_token_that_rotates_between_calls_is_not_noticed_by_callers() {
    for era in [Era::Legacy, Era::Modern] {
        let (server, issuer, manager, tools) = begin(era, "token-1", PoolSettings::new()).await;

        issuer.rotate(&server, "token-2");
        assert_eq!(count(&tools).await, "2", "run once, and answered");
        assert_eq!(server.server().calls_of("count"), 2, "{era}");
        assert_eq!((server.unauthorized(), issuer.refusals()), (1, 1), "{era}");
        assert_eq!(count(&tools).await, "3");
        assert_eq!((server.unauthorized(), issuer.refusals()), (1, 1), "{era}");

        let status = manager.pool_status("test").unwrap();
        assert_eq!(status.opened, 2, "{status:#?}");
        assert!(breaker_is_closed(&manager));
        manager.shutdown().await;
        // The server was notified of the end of both sessions, with the valid token.
        let ended = if era == Era::Legacy { 2 } else { 0 };
        assert_eq!(
            (server.deletes(), server.unauthorized()),
            (ended, 1),
            "{era}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_callers_who_meet_a_401_at_once_cause_one_question() {
    for era in [Era::Legacy, Era::Modern] {
        let settings = PoolSettings::new().max_in_flight(64).scale_up_at(64);
        let (server, issuer, manager, tools) = begin(era, "token-1", settings).await;

        issuer.rotate(&server, "token-2");
        let mut calls = JoinSet::new();
        for _ in 0..64 {
            let tools = tools.clone();
            calls.spawn(async move { tools.call("count", json!({})).await });
        }
        while let Some(called) = calls.join_next().await {
            called.unwrap().unwrap();
        }
        assert_eq!(server.server().calls_of("count"), 65, "{era}: each once");
        assert_eq!(issuer.refusals(), 1, "{era}");
        assert!(server.unauthorized() <= 64, "{}", server.unauthorized());
        let status = manager.pool_status("test").unwrap();
        assert_eq!(status.opened, 2, "{era}: {status:#?}");
        assert!(breaker_is_closed(&manager));
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_rotates_again_and_again_under_load_fails_nobody() {
    let server = HttpServer::with_token(Era::Legacy, "token-0").await;
    let issuer = Issuer::of("token-0");
    let manager = managed(&server, &issuer, PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let (done, stop) = (watch::Sender::new(0), CancellationToken::new());
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let (tools, done, stop) = (tools.clone(), done.clone(), stop.clone());
        callers.spawn(async move {
            while !stop.is_cancelled() {
                tools.call("echo", json!({"message": "a"})).await.unwrap();
                done.send_modify(|done| *done += 1);
            }
        });
    }
    let mut progress = done.subscribe();
    for rotation in 1..=4 {
        let goal = *done.borrow() + 200;
        reach(&mut progress, goal).await;
        issuer.rotate(&server, &format!("token-{rotation}"));
    }
    let goal = *done.borrow() + 200;
    reach(&mut progress, goal).await;
    stop.cancel();
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    assert_eq!(issuer.refusals(), 4);
    assert!(breaker_is_closed(&manager));
    manager.shutdown().await;
}

/// Callers that failed make no progress.
async fn reach(progress: &mut watch::Receiver<u64>, goal: u64) {
    let reached = progress.wait_for(|done| *done >= goal);
    let reached = timeout(LONG, reached).await;
    reached.expect("the callers stand still").unwrap();
}

#[tokio::test]
async fn a_source_that_gives_the_stale_token_again_ends_in_an_authentication_error() {
    for era in [Era::Legacy, Era::Modern] {
        let (server, issuer, manager, tools) = begin(era, "stale-token", PoolSettings::new()).await;

        server.accept_only("another-token");
        let error = tools.call("count", json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        let shown = format!("{error} {error:?} {:?}", manager.status());
        assert!(
            shown.starts_with("server `test`: ") && shown.contains("401"),
            "{shown}"
        );
        assert!(!shown.contains("stale-token"), "{shown}");
        assert!(!error.is_retryable());
        assert_eq!(issuer.refusals(), 1, "{era}: asked once more, no loop");

        // Who comes next is answered from memory.
        let requests = server.requests();
        let next = tools.call("count", json!({})).await.unwrap_err();
        assert_eq!(next.kind(), ErrorKind::Authentication);
        assert!(next.retry_after().is_some());
        assert_eq!(
            (server.requests(), issuer.refusals()),
            (requests, 1),
            "{era}"
        );
        assert_eq!(server.server().calls_of("count"), 1);
        assert!(breaker_is_closed(&manager));
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn with_replay_switched_off_the_caller_is_told_and_the_next_call_has_the_new_token() {
    let settings = PoolSettings::new().replay(mcp_pooled_tools::config::Replay::Never);
    let (server, issuer, manager, tools) = begin(Era::Modern, "token-1", settings).await;
    issuer.rotate(&server, "token-2");
    let error = tools.call("count", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(count(&tools).await, "2");
    manager.shutdown().await;
}

#[tokio::test]
async fn a_session_of_ones_own_is_not_exchanged_under_its_owner() {
    let server = HttpServer::with_token(Era::Legacy, "token-1").await;
    let issuer = Issuer::of("token-1");
    let manager = managed(&server, &issuer, PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let mine = tools.session().await.unwrap();
    mine.call("count", json!({})).await.unwrap();
    issuer.rotate(&server, "token-2");
    let error = mine.call("count", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let session = Arc::clone(mine.session());
    drop(mine);
    let mine = tools.session().await.unwrap();
    mine.call("count", json!({})).await.unwrap();
    assert_eq!(session.close_reason(), Some(CloseReason::Credentials));
    drop(mine);
    manager.shutdown().await;
}

#[tokio::test]
async fn lists_are_fetched_with_the_new_token_too() {
    for era in [Era::Legacy, Era::Modern] {
        let (server, issuer, manager, tools) = begin(era, "token-1", PoolSettings::new()).await;
        issuer.rotate(&server, "token-2");
        assert!(!tools.list_all_tools().await.unwrap().is_empty());
        assert_eq!(issuer.refusals(), 1);
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn fixed_headers_are_refused_once_and_nobody_is_asked() {
    let server = HttpServer::with_token(Era::Modern, "token-1").await;
    let config = mcp_pooled_tools::ServerConfig::http(server.url())
        .header("Authorization", "Bearer token-1");
    let manager = manager(config, PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    assert_eq!(count(&tools).await, "1");
    server.accept_only("token-2");
    let error = tools.call("count", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(server.unauthorized(), 1);
    assert!(breaker_is_closed(&manager));
    manager.shutdown().await;
}
