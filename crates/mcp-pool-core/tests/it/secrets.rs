//! Secrets that a server echoes do not reach errors, status or log.

use crate::common;
use std::{error::Error, fmt::Write, sync::Arc};

use common::{Events, attempt_failed, quiet, servers::shell, within};
use mcp_pool_core::{
    Connected, Connector, Handshake, OpenError, OpenErrorKind, Phase, SessionPool,
    connect::{BoxFuture, http::Http},
};
use mcp_testkit::scripted_http::{Answer, ScriptedHttp};
use parking_lot::Mutex;
use serde_json::json;
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

/// All that is logged under a target, in words.
#[derive(Clone)]
struct Log(Arc<Mutex<String>>, &'static str);

impl Log {
    fn of(target: &'static str) -> Self {
        Self(Arc::default(), target)
    }
}

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
        if event.metadata().target().starts_with(self.1) {
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
    let log = Log::of("mcp_pool");
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
    let log = Log::of("mcp_pool");
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

/// rmcp's worker logs with what error it ends, before the pool sees that.
#[tokio::test]
async fn what_rmcp_logs_of_a_server_that_says_its_secret_back_does_not_show_it() {
    let says = format!("no access with {SECRET}");
    let refused = json!({"code": -32000, "message": says});
    let mut worker_said = String::new();
    for (method, answer) in [
        ("initialize", Answer::status(500, &says)),
        ("initialize", Answer::json(200, &json!(says))),
        (
            "initialize",
            Answer::json(
                400,
                &json!({"jsonrpc": "2.0", "id": null, "error": refused}),
            ),
        ),
        ("notifications/initialized", Answer::status(400, &says)),
        ("GET", Answer::status(403, &says)),
        ("GET", Answer::events().bytes(format!("data: {says}\n\n"))),
        ("tools/call", Answer::status(500, &says)),
        ("tools/call", Answer::status(404, &says)),
        (
            "tools/call",
            Answer::events().bytes(format!("data: {says}\n\n")),
        ),
        ("tools/call", Answer::events().bytes("data: {").cut()),
        ("DELETE", Answer::status(500, &says)),
    ] {
        let shown = format!("{method}: {answer:?}");
        let log = Log::of("rmcp");
        let worker = Log::of("rmcp::transport::worker");
        let server = ScriptedHttp::start(move |asked| {
            (asked.method() == method || asked.verb == method).then(|| answer.clone())
        })
        .await;
        let connector = Http::new(format!("{}?key={SECRET}", server.url())).unwrap();
        let connector = connector.header("X-Key", SECRET).unwrap();
        for log in [&log, &worker] {
            let _logging = tracing::subscriber::set_default(log.clone());
            let (pool, _) = pool_of(connector.clone());
            if let Ok(lease) = within(pool.acquire()).await {
                let _ = within(common::call(&lease, "echo", json!({}))).await;
            }
            within(pool.close()).await;
        }
        assert_clean(&format!("{shown}: rmcp"), &log.0.lock());
        worker_said.push_str(&worker.0.lock());
    }
    assert!(
        worker_said.contains("***"),
        "the worker tells of none: {worker_said}"
    );
}

struct Shouting;

impl Connector for Shouting {
    fn connect<'a>(&'a self, _: &'a Handshake) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async {
            let beneath =
                std::io::Error::other(format!("\u{1b}[2Jno\nroute {}", "x".repeat(1 << 20)));
            let error = OpenError::new(OpenErrorKind::Unreachable, Phase::Open, "it broke");
            Err(error.with_source(beneath))
        })
    }
}

#[tokio::test]
async fn a_cause_is_short_and_on_one_line() {
    let (pool, _) = pool_of(Shouting);
    let error = within(pool.acquire()).await.unwrap_err();
    let cause = error.source().unwrap();
    assert_eq!(cause.to_string(), "it broke");
    let beneath = cause.source().unwrap().to_string();
    assert!(beneath.starts_with(r"\u{1b}[2Jno route xxx"), "{beneath}");
    assert!(beneath.len() < 1_100, "{}", beneath.len());
}
