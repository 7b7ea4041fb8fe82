//! A server that says its secrets back does not get them into errors, status, or log.

use crate::common;
use std::{error::Error, fmt::Write, sync::Arc};

use common::{Events, attempt_failed, quiet, servers::shell, within};
use mcp_pool_core::{
    Connected, Connector, Handshake, OpenError, OpenErrorKind, Phase, SessionPool,
    connect::BoxFuture,
};
use parking_lot::Mutex;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

const SECRET: &str = "hunter2-and-more";

fn pool_of(connector: impl Connector) -> (SessionPool, Events) {
    let events = Events::new();
    let pool = SessionPool::builder("server", connector)
        .options(quiet())
        .observer(events.clone())
        .redact(|text| text.replace(SECRET, "***"))
        .build()
        .unwrap();
    (pool, events)
}

/// All that is logged, in words.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        if event.metadata().target().starts_with("mcp_pool") {
            event.record(&mut Words(&mut self.0.lock()));
        }
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Words<'a>(&'a mut String);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0, "{field}: {value:?}").unwrap();
    }
}

fn assert_clean(what: &str, text: &str) {
    assert!(!text.contains(SECRET), "{what} shows it: {text}");
}

fn assert_clean_error(error: &(dyn Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        assert_clean("the error", &format!("{error} {error:?}"));
        next = error.source();
    }
}

#[tokio::test]
async fn a_process_that_fails_with_its_secret_on_stderr_does_not_show_it() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let script = format!("echo 'no access with {SECRET}' >&2; exit 3");
    let (pool, events) = pool_of(shell(&script));
    let error = within(pool.acquire()).await.unwrap_err();
    assert_clean_error(&error);
    let said = error.source().unwrap().to_string();
    assert!(said.contains("no access with ***"), "{said}");
    assert_eq!(events.count(attempt_failed), 1);
    assert_clean("an event", &format!("{:?}", events.all()));
    assert_clean("the status", &format!("{:?}", pool.status()));
    let log = log.0.lock();
    assert!(log.contains("no access with ***"), "{log}");
    assert_clean("the log", &log);
}

#[tokio::test]
async fn a_process_that_dies_with_its_secret_on_stderr_does_not_show_it() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let script = format!(
        "{} --max-lifetime 60; echo 'gone with {SECRET}' >&2; exit 3",
        common::servers::path()
    );
    let (pool, events) = pool_of(shell(&script));
    let lease = within(pool.acquire()).await.unwrap();
    let _ = within(common::call(&lease, "exit", serde_json::json!({"code": 3}))).await;
    let cause = within(lease.cause_of_end()).await;
    assert_clean("the cause", &cause);
    assert_clean("stderr", &lease.stderr_tail().join(" "));
    drop(lease);
    events.wait_for(1, common::closed).await;
    assert_clean("the log", &log.0.lock());
}

struct Echoing;

impl Connector for Echoing {
    fn connect<'a>(&'a self, _: &'a Handshake) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async {
            let beneath = std::io::Error::other(format!("401 for {SECRET}"));
            let message = format!("refused: {SECRET}");
            Err(
                OpenError::new(OpenErrorKind::Unauthorized, Phase::Handshake, message)
                    .with_source(beneath),
            )
        })
    }
}

#[tokio::test]
async fn a_cause_that_shows_a_secret_is_left_out() {
    let (pool, _) = pool_of(Echoing);
    let error = within(pool.acquire()).await.unwrap_err();
    assert_clean_error(&error);
    let cause = error.source().unwrap();
    assert_eq!(cause.to_string(), "refused: ***");
    assert!(cause.source().is_none());
    assert_eq!(pool.status().last_error.as_deref(), Some("refused: ***"));
}
