//! Tokens that expire under live sessions: when and how often their sources are asked for new ones.

use crate::common;
use std::{fmt, sync::Arc};

use common::{assert_balanced, call, closed, echo, observed, quiet, quiet_with, within};
use mcp_pool_core::{
    AcquireError, CallFailure, CloseReason, Lease, OpenErrorKind, PoolEvent, SessionPool,
    connect::{BoxFuture, http::Http},
    source::{Asked, SourceError, ValueSource},
};
use mcp_testkit::{Era, HttpOptions, HttpServer};
use parking_lot::Mutex;
use serde_json::json;

/// Answers as the test wants, and remembers why it was asked. Clones are the same source.
#[derive(Clone)]
struct Issuer(Arc<Inner>);

struct Inner {
    answer: Box<dyn Fn(usize, Asked) -> Option<String> + Send + Sync>,
    asked: Mutex<Vec<Asked>>,
}

impl Issuer {
    /// `answer` is asked with the number of the question, from 1.
    fn new(answer: impl Fn(usize, Asked) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner {
            answer: Box::new(answer),
            asked: Mutex::default(),
        }))
    }

    /// Keeps `first` until a server refuses it, and has `second` from then on.
    fn with(first: &'static str, second: &'static str) -> Self {
        let kept = Mutex::new(first);
        Self::new(move |_, why| {
            let mut kept = kept.lock();
            if why == Asked::Refused {
                *kept = second;
            }
            Some(format!("Bearer {kept}"))
        })
    }

    fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().clone()
    }
}

impl ValueSource for Issuer {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        let number = {
            let mut all = self.0.asked.lock();
            all.push(asked);
            all.len()
        };
        let answer = (self.0.answer)(number, asked);
        Box::pin(async { answer.ok_or_else(|| SourceError::new("the vault is sealed")) })
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Issuer")
    }
}

fn connector(server: &HttpServer, issuer: &Issuer) -> Http {
    Http::new(server.url())
        .unwrap()
        .header_from("Authorization", Arc::new(issuer.clone()))
        .unwrap()
}

/// One call on a lease, as the pool sees it.
async fn try_echo(lease: &Lease) -> Result<(), CallFailure> {
    let guard = lease.begin_call(None);
    match within(call(lease, "echo", json!({"message": "hello"}))).await {
        Ok(_) => {
            guard.answered();
            Ok(())
        }
        Err(error) => Err(guard.failed(&error)),
    }
}

async fn refusal(pool: &SessionPool) -> (OpenErrorKind, String, bool) {
    match within(pool.acquire()).await.unwrap_err() {
        AcquireError::Open { cause, retry_after } => {
            (cause.kind(), cause.to_string(), retry_after.is_some())
        }
        other => panic!("not a failed opening: {other:?}"),
    }
}

fn closed_for_credentials(event: &PoolEvent) -> bool {
    matches!(
        event,
        PoolEvent::Closed {
            reason: CloseReason::Credentials,
            ..
        }
    )
}

#[tokio::test]
async fn a_source_is_asked_at_openings_and_not_on_calls() {
    for era in [Era::Legacy, Era::Modern] {
        let server = HttpServer::with_token(era, "good").await;
        let issuer = Issuer::with("good", "never asked for");
        let (pool, events) = observed(connector(&server, &issuer), quiet());
        for opening in 1..=2 {
            for _ in 0..5 {
                let lease = within(pool.acquire()).await.unwrap();
                assert_eq!(echo(&lease).await, "hello");
            }
            assert_eq!(issuer.asked(), vec![Asked::Open; opening], "{era}");
            pool.evict_all();
            events.wait_for(opening, closed).await;
        }
        assert_eq!(server.unauthorized(), 0);
        within(pool.close()).await;
        assert_balanced(&pool);
    }
}

#[tokio::test]
async fn pain_16_a_token_that_expired_between_calls_retires_its_sessions_and_is_asked_for_anew() {
    for era in [Era::Legacy, Era::Modern] {
        let server = HttpServer::with_token(era, "old").await;
        let issuer = Issuer::with("old", "new");
        let (pool, events) = observed(connector(&server, &issuer), quiet());
        let stale = within(pool.acquire()).await.unwrap();
        assert_eq!(echo(&stale).await, "hello");
        let session = Arc::clone(stale.session());
        let slow = async { call(&session, "sleep", json!({"ms": 300})).await };
        tokio::pin!(slow);
        tokio::select! {
            _ = &mut slow => panic!("it sleeps"),
            () = until_called(&server, "sleep") => {}
        }

        server.accept_only("new");
        assert_eq!(
            try_echo(&stale).await,
            Err(CallFailure::StaleCredentials),
            "{era}"
        );
        let fresh = within(pool.acquire()).await.unwrap();
        assert_ne!(fresh.id(), stale.id());
        assert_eq!(try_echo(&fresh).await, Ok(()));
        assert_eq!(issuer.asked(), [Asked::Open, Asked::Refused], "{era}");
        assert_eq!(server.unauthorized(), 1, "{era}");

        // The call that was under way ends as if nothing had been.
        within(slow).await.unwrap();
        assert_eq!(events.count(closed), 0, "its session was left to it");
        drop((stale, fresh));
        events.wait_for(1, closed_for_credentials).await;
        // And the server was told of its end in a way that it accepts.
        assert_eq!(server.deletes(), u64::from(era == Era::Legacy));
        assert_eq!(server.unauthorized(), 1, "{era}");
        within(pool.close()).await;
        assert_balanced(&pool);
    }
}

async fn until_called(server: &HttpServer, tool: &str) {
    while server.server().calls_of(tool) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_token_that_went_stale_while_it_was_kept_costs_the_opening_one_more_question() {
    for era in [Era::Legacy, Era::Modern] {
        let server = HttpServer::with_token(era, "new").await;
        let issuer = Issuer::with("old", "new");
        let (pool, _) = observed(connector(&server, &issuer), quiet());
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(echo(&lease).await, "hello");
        assert_eq!(issuer.asked(), [Asked::Open, Asked::Refused], "{era}");
        drop(lease);
        within(pool.close()).await;
        assert_balanced(&pool);
    }
}

#[tokio::test]
async fn a_source_that_has_nothing_newer_is_asked_once_more_and_then_left_alone() {
    for era in [Era::Legacy, Era::Modern] {
        let server = HttpServer::with_token(era, "another").await;
        let issuer = Issuer::with("stale-token", "stale-token");
        let (pool, events) = observed(
            connector(&server, &issuer),
            quiet_with(|o| o.retry_attempts = 3),
        );
        let (kind, message, _) = refusal(&pool).await;
        assert_eq!(kind, OpenErrorKind::Unauthorized);
        assert!(message.contains("401") && message.contains("`authorization`"));
        assert!(!message.contains("stale-token"), "{message}");
        assert_eq!(issuer.asked(), [Asked::Open, Asked::Refused], "{era}");
        assert_eq!(events.count(common::attempt_failed), 1, "final at once");

        // The next caller gets the same error, and no source is asked.
        let requests = server.requests();
        assert_eq!(refusal(&pool).await, (kind, message, true));
        assert_eq!((server.requests(), issuer.asked().len()), (requests, 2));
        within(pool.close()).await;
        assert_balanced(&pool);
    }
}

#[tokio::test]
async fn a_token_that_is_refused_again_after_it_was_asked_for_anew_is_final() {
    for era in [Era::Legacy, Era::Modern] {
        let server = HttpServer::with_token(era, "old").await;
        let issuer = Issuer::with("old", "not the new one");
        let (pool, _) = observed(connector(&server, &issuer), quiet());
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(try_echo(&lease).await, Ok(()));
        server.accept_only("new");
        assert_eq!(try_echo(&lease).await, Err(CallFailure::StaleCredentials));
        drop(lease);
        let (kind, message, _) = refusal(&pool).await;
        assert_eq!(kind, OpenErrorKind::Unauthorized, "{message}");
        assert_eq!(issuer.asked(), [Asked::Open, Asked::Refused], "{era}");
        within(pool.close()).await;
        assert_balanced(&pool);
    }
}

#[tokio::test]
async fn where_only_calls_are_refused_the_pool_pauses_all_the_same() {
    let server = HttpServer::start(HttpOptions {
        era: Era::Modern,
        bearer: Some("good".into()),
        bearer_for_calls_only: true,
        ..HttpOptions::default()
    })
    .await;
    let issuer = Issuer::new(|number, _| Some(format!("Bearer wrong-{number}")));
    let (pool, _) = observed(connector(&server, &issuer), quiet());
    let stale = Err(CallFailure::StaleCredentials);
    let wrong = Err(CallFailure::Rejected(OpenErrorKind::Unauthorized));
    for outcome in [stale, wrong] {
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(try_echo(&lease).await, outcome);
    }
    let (kind, message, paused) = refusal(&pool).await;
    assert_eq!((kind, paused), (OpenErrorKind::Unauthorized, true));
    assert!(message.contains("401"), "{message}");
    assert_eq!(issuer.asked(), [Asked::Open, Asked::Refused]);

    // After the pause the next try succeeds.
    server.accept_only("wrong-3");
    let lease = loop {
        match pool.acquire().await {
            Ok(lease) => break lease,
            Err(AcquireError::Open { retry_after, .. }) => {
                tokio::time::sleep(retry_after.unwrap_or_default()).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(try_echo(&lease).await, Ok(()));
    drop(lease);
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[tokio::test]
async fn who_is_forbidden_is_not_helped_by_another_token() {
    for era in [Era::Legacy, Era::Modern] {
        let server = HttpServer::with_token(era, "good").await;
        let issuer = Issuer::with("good", "never asked for");
        let (pool, _) = observed(connector(&server, &issuer), quiet());
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(try_echo(&lease).await, Ok(()));
        server.answer_with(Some(403));
        let forbidden = Err(CallFailure::Rejected(OpenErrorKind::Forbidden));
        assert_eq!(try_echo(&lease).await, forbidden);
        assert!(lease.close_reason().is_none(), "it may be of one tool only");
        drop(lease);
        pool.drain().await;
        assert_eq!(refusal(&pool).await.0, OpenErrorKind::Forbidden);
        assert_eq!(issuer.asked(), [Asked::Open, Asked::Open], "{era}");
        within(pool.close()).await;
        assert_balanced(&pool);
    }
}

#[tokio::test]
async fn a_probe_that_meets_a_401_replaces_the_session_before_a_caller_does() {
    for era in [Era::Legacy, Era::Modern] {
        let server = HttpServer::with_token(era, "old").await;
        let issuer = Issuer::with("old", "new");
        let (pool, events) = observed(connector(&server, &issuer), quiet());
        assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
        server.accept_only("new");
        assert!(!within(pool.probe()).await.unwrap().alive);
        events.wait_for(1, closed_for_credentials).await;
        assert_eq!(
            try_echo(&within(pool.acquire()).await.unwrap()).await,
            Ok(())
        );
        assert_eq!(issuer.asked(), [Asked::Open, Asked::Refused], "{era}");
        within(pool.close()).await;
        assert_balanced(&pool);
    }
}

#[tokio::test]
async fn a_source_without_an_answer_fails_the_opening_before_the_server_is_reached() {
    let server = HttpServer::with_token(Era::Modern, "good").await;
    for (issuer, says) in [
        (Issuer::new(|_, _| None), "the vault is sealed"),
        (
            Issuer::new(|_, _| Some("sec\nret".into())),
            "characters that HTTP does not allow",
        ),
    ] {
        let (pool, events) = observed(
            connector(&server, &issuer),
            quiet_with(|o| o.retry_attempts = 3),
        );
        let (kind, message, _) = refusal(&pool).await;
        assert_eq!(kind, OpenErrorKind::Credentials);
        assert!(
            message.contains(says) && message.contains("`authorization`"),
            "{message}"
        );
        assert!(!message.contains("sec"), "{message}");
        assert_eq!(events.count(common::attempt_failed), 1, "final at once");
        within(pool.close()).await;
        assert_balanced(&pool);
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn openings_at_once_are_content_with_one_answer() {
    let server = HttpServer::with_token(Era::Modern, "good").await;
    let issuer = Issuer::with("good", "never asked for");
    let slow = Slow(issuer.clone());
    let connector = Http::new(server.url())
        .unwrap()
        .header_from("Authorization", Arc::new(slow))
        .unwrap();
    let options = quiet_with(|options| {
        options.max_connecting = 4;
        options.sharing = mcp_pool_core::SharingMode::Exclusive;
    });
    let (pool, events) = observed(connector, options);
    let waiting: Vec<_> = (0..4).map(|_| common::acquire_apart(&pool)).collect();
    for lease in waiting {
        drop(within(lease).await.unwrap().unwrap());
    }
    assert_eq!(events.count(common::opened), 4);
    assert!(issuer.asked().len() < 4, "{:?}", issuer.asked());
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[derive(Debug)]
struct Slow(Issuer);

impl ValueSource for Slow {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            self.0.value(asked).await
        })
    }
}

#[test]
fn a_connector_shows_where_its_headers_come_from_and_not_what_they_are() {
    let connector = Http::new("http://localhost/mcp")
        .unwrap()
        .header_from("X-Key", Arc::new(Issuer::with("s3cret", "s3cret")))
        .unwrap();
    let shown = format!("{connector:?}");
    assert!(
        shown.contains("x-key") && shown.contains("Issuer"),
        "{shown}"
    );
    assert!(!shown.contains("s3cret"), "{shown}");
}
