//! Authorization challenges of a server: who receives them, and what follows.

use crate::common;
use std::{sync::Arc, time::Duration};

use common::{assert_balanced, call, echo, pool_of, quiet, within};
use mcp_pool_core::{
    AcquireError, AuthChallenge, CallFailure, OpenErrorKind,
    connect::{BoxFuture, http::Http},
    source::{Asked, SourceError, ValueSource},
};
use mcp_testkit::scripted_http::{Answer, ScriptedHttp};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;

const METADATA: &str = "http://localhost/.well-known/oauth-protected-resource";

fn unauthorized() -> Answer {
    let header = format!(r#"Bearer resource_metadata="{METADATA}", scope="read""#);
    Answer::status(401, "no").header("WWW-Authenticate", &header)
}

fn insufficient() -> Answer {
    let header = r#"Bearer error="insufficient_scope", scope="read write""#;
    Answer::status(403, "no").header("WWW-Authenticate", header)
}

/// Gives `read` at first, and `read write` when a server wants more scope. Notes what it was asked.
#[derive(Clone, Debug, Default)]
struct Scopes {
    asked: Arc<Mutex<Vec<Question>>>,
}

/// Why a source was asked, and for which scope.
type Question = (Asked, Option<String>);

impl ValueSource for Scopes {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        self.value_for(asked, None)
    }

    fn value_for<'a>(
        &'a self,
        asked: Asked,
        challenge: Option<&'a AuthChallenge>,
    ) -> BoxFuture<'a, Result<String, SourceError>> {
        let scope = challenge.and_then(|challenge| challenge.scope.clone());
        let mut log = self.asked.lock();
        log.push((asked, scope));
        let stepped_up = log
            .iter()
            .any(|(asked, _)| *asked == Asked::InsufficientScope);
        let value = if stepped_up {
            "Bearer more"
        } else {
            "Bearer less"
        };
        Box::pin(async move { Ok(value.to_owned()) })
    }

    fn can_step_up(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn the_challenge_of_a_401_is_part_of_the_error_of_the_opening() {
    let server = ScriptedHttp::start(|_| Some(unauthorized())).await;
    let pool = pool_of(Http::new(server.url()).unwrap(), quiet());
    let error = within(pool.acquire()).await.unwrap_err();
    let AcquireError::Open { cause, .. } = error else {
        panic!("not {error}");
    };
    assert_eq!(cause.kind(), OpenErrorKind::Unauthorized);
    let challenge = cause.auth_challenge().unwrap();
    assert_eq!(challenge.resource_metadata.as_deref(), Some(METADATA));
    assert_eq!(challenge.scope.as_deref(), Some("read"));
}

#[tokio::test]
async fn a_source_hears_the_challenge_and_so_does_the_caller_of_an_opening_that_it_fails() {
    #[derive(Debug)]
    struct Unwilling;
    impl ValueSource for Unwilling {
        fn value(&self, _: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
            Box::pin(async { Ok("Bearer old".into()) })
        }
        fn value_for<'a>(
            &'a self,
            _: Asked,
            challenge: Option<&'a AuthChallenge>,
        ) -> BoxFuture<'a, Result<String, SourceError>> {
            Box::pin(async move {
                match challenge {
                    Some(challenge) => Err(SourceError::new(format!(
                        "consent to {} first",
                        challenge.scope.as_deref().unwrap_or("nothing")
                    ))),
                    None => Ok("Bearer old".into()),
                }
            })
        }
    }
    let server = ScriptedHttp::start(|_| Some(unauthorized())).await;
    let connector = Http::new(server.url()).unwrap();
    let connector = connector
        .header_from("Authorization", Arc::new(Unwilling))
        .unwrap();
    let pool = pool_of(connector, quiet());
    let error = within(pool.acquire()).await.unwrap_err();
    let AcquireError::Open { cause, .. } = error else {
        panic!("not {error}");
    };
    assert_eq!(cause.kind(), OpenErrorKind::Credentials);
    assert!(cause.to_string().contains("consent to read"), "{cause}");
    assert!(cause.auth_challenge().is_some());
}

#[tokio::test]
async fn a_call_that_lacks_a_scope_carries_the_challenge_and_leaves_the_session_in_use() {
    let server =
        ScriptedHttp::start(|asked| (asked.method() == "tools/call").then(insufficient)).await;
    let pool = pool_of(Http::new(server.url()).unwrap(), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let guard = lease.begin_call(None);
    let error = within(call(&lease, "echo", json!({}))).await.unwrap_err();
    let challenge = AuthChallenge::of(&error).unwrap();
    assert_eq!(challenge.scope.as_deref(), Some("read write"));
    let failure = guard.failed(&error);
    assert_eq!(failure, CallFailure::Rejected(OpenErrorKind::Forbidden));
    drop(lease);
    assert_eq!(assert_balanced(&pool).connections.idle, 1);
}

#[tokio::test]
async fn a_source_that_can_step_up_is_asked_for_the_scope_and_the_next_session_has_it() {
    let server = ScriptedHttp::start(|asked| {
        let lacking = asked.header("authorization") == Some("Bearer less");
        (lacking && asked.method() == "tools/call").then(insufficient)
    })
    .await;
    let source = Scopes::default();
    let connector = Http::new(server.url()).unwrap();
    let connector = connector
        .header_from("Authorization", Arc::new(source.clone()))
        .unwrap();
    let pool = pool_of(connector, quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let guard = lease.begin_call(None);
    let error = within(call(&lease, "echo", json!({}))).await.unwrap_err();
    assert_eq!(guard.failed(&error), CallFailure::StaleCredentials);
    drop(lease);
    let lease = within(pool.acquire()).await.unwrap();
    assert_eq!(echo(&lease).await, "hello");
    let scope = Some("read write".to_owned());
    assert_eq!(
        *source.asked.lock(),
        [(Asked::Open, None), (Asked::InsufficientScope, scope)]
    );
}

#[tokio::test]
async fn a_scope_that_is_still_missing_after_the_step_up_is_the_callers_error() {
    let server =
        ScriptedHttp::start(|asked| (asked.method() == "tools/call").then(insufficient)).await;
    let source = Scopes::default();
    let connector = Http::new(server.url()).unwrap();
    let connector = connector
        .header_from("Authorization", Arc::new(source.clone()))
        .unwrap();
    let pool = pool_of(connector, quiet());
    let failures = async || {
        let lease = within(pool.acquire()).await.unwrap();
        let guard = lease.begin_call(None);
        let error = within(call(&lease, "echo", json!({}))).await.unwrap_err();
        guard.failed(&error)
    };
    assert_eq!(failures().await, CallFailure::StaleCredentials);
    for _ in 0..3 {
        let refused = CallFailure::Rejected(OpenErrorKind::Forbidden);
        assert_eq!(failures().await, refused);
    }
    assert_eq!(source.asked.lock().len(), 2, "not asked for the same again");
}

#[tokio::test]
async fn a_consent_ends_the_pause_of_the_pool() {
    #[derive(Clone, Debug, Default)]
    struct Consent(Arc<watch::Sender<bool>>);
    impl ValueSource for Consent {
        fn value(&self, _: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
            Box::pin(async {
                match *self.0.borrow() {
                    true => Ok("Bearer good".into()),
                    false => Err(SourceError::new("no consent yet")),
                }
            })
        }
        fn changed(&self) -> BoxFuture<'_, ()> {
            Box::pin(async {
                let _ = self.0.subscribe().wait_for(|given| *given).await;
            })
        }
    }
    let server = ScriptedHttp::start(|_| None).await;
    let consent = Consent::default();
    let connector = Http::new(server.url()).unwrap();
    let connector = connector
        .header_from("Authorization", Arc::new(consent.clone()))
        .unwrap();
    let pool = pool_of(connector, quiet());
    // As many refusals as make a pause longer than this test waits.
    for _ in 0..9 {
        pool.end_backoff();
        within(pool.acquire()).await.unwrap_err();
    }
    consent.0.send_replace(true);
    let opened = async {
        loop {
            match pool.acquire().await {
                Ok(lease) => return lease,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let lease = within(opened).await;
    assert_eq!(echo(&lease).await, "hello");
}
