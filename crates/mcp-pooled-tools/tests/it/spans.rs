//! Spans of calls, waits and openings in a trace.

use crate::common;
use crate::common::spans;
use crate::common::wired;
use std::{collections::BTreeMap, time::Duration};

use common::{LONG, manager, process, text};
use mcp_pooled_tools::{
    CallOptions, ErrorKind, PoolSettings, Sharing,
    config::{CircuitBreakerSettings, Initialization, Replay},
};
use mcp_testkit::{FailFirst, Faults, OpeningFailure, TestServer};
use rmcp::model::{CallToolRequestParams, GetPromptRequestParams};
use serde_json::json;
use spans::{Kept, Span, Spans, several_subscribers};
use tokio::time::{sleep, timeout};
use tracing::{Instrument, Level, info_span};
use wired::Wired;

fn settings() -> PoolSettings {
    PoolSettings::new().circuit_breaker(CircuitBreakerSettings::new().failure_threshold(1_000))
}

fn params(name: &'static str, arguments: serde_json::Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name).with_arguments(arguments.as_object().cloned().unwrap())
}

/// The fields that have a value, without those that differ from run to run.
fn fields(span: &Span) -> BTreeMap<&str, &str> {
    let vary = ["session", "otel.name", "otel.kind", "mcp.protocol.version"];
    let fields = span.fields.iter().map(|(name, value)| (*name, &**value));
    fields.filter(|(name, _)| !vary.contains(name)).collect()
}

#[tokio::test]
async fn the_first_call_shows_its_wait_and_the_opening_it_waited_for() {
    let log = Spans::begin();
    let manager = manager(process(&[]), settings()).await;
    let tools = manager.tools("test").unwrap();
    let echo = || tools.call("echo", json!({ "message": "m" }));
    echo().instrument(info_span!("request")).await.unwrap();

    let request = log.kept.span("request");
    let call = log.kept.span("mcp.call");
    let acquire = log.kept.span("mcp.acquire");
    let open = log.kept.span("mcp.open");
    assert_eq!(call.parent, Some(request.id));
    assert_eq!(acquire.parent, Some(call.id));
    assert_eq!(open.parent, Some(acquire.id));
    let levels = [call.level, acquire.level, open.level];
    assert_eq!(levels, [Level::DEBUG, Level::DEBUG, Level::INFO]);

    let expected = [
        ("attempt", "1"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "echo"),
        ("mcp.method.name", "tools/call"),
        ("network.transport", "pipe"),
        ("outcome", "ok"),
        ("server", "test"),
    ];
    assert_eq!(fields(&call), BTreeMap::from(expected));
    assert_eq!(call.field("otel.name"), "tools/call echo");
    assert_eq!(call.field("otel.kind"), "client");
    let spoken = tools.peer_info().unwrap().protocol_version.to_string();
    assert_eq!(call.field("mcp.protocol.version"), spoken);
    assert_eq!(fields(&acquire), BTreeMap::from([("server", "test")]));
    let expected = [("attempt", "1"), ("era", "modern"), ("server", "test")];
    assert_eq!(fields(&open), BTreeMap::from(expected));

    let session = manager.pool_status("test").unwrap().sessions[0]
        .id
        .to_string();
    for span in [&call, &acquire, &open] {
        assert_eq!(span.field("session"), session, "{}", span.name);
        assert!(span.closed, "{} is over while the session lives", span.name);
    }

    // The next one meets the session.
    log.kept.forget();
    echo().await.unwrap();
    let (call, acquire) = (log.kept.span("mcp.call"), log.kept.span("mcp.acquire"));
    assert_eq!((call.parent, acquire.parent), (None, Some(call.id)));
    assert_eq!(acquire.field("session"), session);
    assert!(log.kept.spans("mcp.open").is_empty());
    manager.shutdown().await;
}

#[tokio::test]
async fn requests_held_sessions_and_direct_calls_have_spans_too() {
    let log = Spans::begin();
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings()).await;
    let tools = manager.tools("test").unwrap();
    let prompt = GetPromptRequestParams::new("nobody knows it");
    tools.get_prompt(prompt).await.unwrap_err();
    let call = log.kept.span("mcp.call");
    assert_eq!(call.field("otel.name"), "prompts/get");
    assert_eq!(call.field("mcp.method.name"), "prompts/get");
    for of_tools in ["gen_ai.tool.name", "gen_ai.operation.name"] {
        assert!(!call.fields.contains_key(of_tools), "{call:?}");
    }

    let held = tools.session().await.unwrap();
    log.kept.forget();
    common::echo(&held, "m").await;
    let call = log.kept.span("mcp.call");
    assert_eq!((call.field("attempt"), call.field("outcome")), ("1", "ok"));
    assert_eq!(call.field("session"), held.session().id().to_string());
    assert!(log.kept.spans("mcp.acquire").is_empty(), "it is held");
    drop(held);

    log.kept.forget();
    let direct = manager.direct_tools("test").unwrap();
    common::echo(&direct, "m").await;
    let (call, acquire) = (log.kept.span("mcp.call"), log.kept.span("mcp.acquire"));
    assert_eq!(acquire.parent, Some(call.id));
    assert_eq!(log.kept.span("mcp.open").parent, Some(acquire.id));
    assert_eq!(call.field("session"), acquire.field("session"));
    manager.shutdown().await;
}

#[tokio::test]
async fn each_attempt_at_a_call_has_a_span_of_its_own() {
    let log = Spans::begin();
    let wired = Wired::new(TestServer::with_faults(Faults {
        exit_mid_call: Some("echo".into()),
        ..Faults::default()
    }));
    let manager = wired.manager(settings()).await;
    let tools = manager.tools("test").unwrap();
    let calling = tools.call_tool_with(
        params("echo", json!({ "message": "m" })),
        CallOptions::new().replay(Replay::Always),
    );
    let error = calling.instrument(info_span!("request")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");

    let request = log.kept.span("request");
    let calls = log.kept.spans("mcp.call");
    let acquires = log.kept.spans("mcp.acquire");
    assert_eq!((calls.len(), acquires.len()), (2, 2));
    for (at, (call, acquire)) in calls.iter().zip(&acquires).enumerate() {
        assert_eq!(call.field("attempt"), (at + 1).to_string());
        assert_eq!(call.parent, Some(request.id));
        assert_eq!(acquire.parent, Some(call.id));
        assert_eq!(call.field("session"), acquire.field("session"));
        assert_eq!(call.field("outcome"), "outcome_unknown");
        assert_eq!(call.field("error.type"), "outcome_unknown");
        assert_eq!(call.field("otel.status_code"), "ERROR");
    }
    assert_ne!(calls[0].field("session"), calls[1].field("session"));
    let again = log.kept.lines_of("retrying tool `echo`");
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].level, Level::WARN);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_span_tells_how_its_attempt_ended() {
    let log = Spans::begin();
    let wired = Wired::new(TestServer::new());
    let threshold = CircuitBreakerSettings::new().failure_threshold(1);
    let settings = settings()
        .call_timeout(Duration::from_millis(60))
        .circuit_breaker(threshold);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let ended = |expected: [&str; 3]| {
        let call = log.kept.span("mcp.call");
        let names = ["outcome", "error.type", "rpc.response.status_code"];
        assert_eq!(names.map(|name| call.field(name)), expected);
        assert_eq!(call.field("otel.status_code"), "ERROR");
        assert!(call.closed);
        log.kept.forget();
    };
    let failed = tools.call("tool_error", json!({ "message": "no" })).await;
    assert_eq!(failed.unwrap().is_error, Some(true));
    ended(["tool_error", "tool_error", ""]);

    let refused = json!({ "code": -32602, "message": "no" });
    tools.call("fail", refused).await.unwrap_err();
    ended(["protocol", "-32602", "-32602"]);

    let left = tools.call("sleep", json!({ "ms": 60_000 }));
    timeout(Duration::from_millis(50), left).await.unwrap_err();
    ended(["cancelled", "cancelled", ""]);

    let slow = params("sleep", json!({ "ms": 60_000 }));
    tools.call_tool(slow).await.unwrap_err();
    ended(["timeout", "timeout", ""]);

    let refused = tools.call("echo", json!({ "message": "m" })).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::CircuitOpen);
    ended(["circuit_open", "circuit_open", ""]);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn every_try_at_an_opening_has_a_span_of_its_own() {
    let log = Spans::begin();
    let wired = Wired::new(TestServer::new());
    wired.go_down();
    let manager = wired.manager(settings().retry_attempts(1)).await;
    let tools = manager.tools("test").unwrap();
    let error = tools.call("echo", json!({ "message": "m" })).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Connection);
    let acquire = log.kept.span("mcp.acquire");
    assert_eq!(acquire.field("error.type"), "unreachable");
    assert_eq!(acquire.field("otel.status_code"), "ERROR");
    let opens = log.kept.spans("mcp.open");
    assert_eq!(opens.len(), 2);
    for (at, open) in opens.iter().enumerate() {
        assert_eq!(open.parent, Some(acquire.id));
        assert_eq!(open.field("attempt"), (at + 1).to_string());
        assert_eq!(open.field("error.type"), "unreachable");
        assert_eq!(open.field("otel.status_code"), "ERROR");
        assert_eq!(open.field("session"), opens[0].field("session"));
    }
    let lines = log.kept.lines_of("opening a session failed");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].level, Level::WARN);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_opening_is_traced_under_whoever_waits_for_it() {
    let log = Spans::begin();
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings().max_connections(2)).await;
    let tools = manager.tools("test").unwrap();
    let busy = tools.call("sleep", json!({ "ms": 1_000 }));
    let alone = async {
        sleep(Duration::from_millis(100)).await;
        tools.session().instrument(info_span!("alone")).await
    };
    let (slept, held) = tokio::join!(busy, alone);
    slept.unwrap();
    held.unwrap();
    let acquires = log.kept.spans("mcp.acquire");
    assert_eq!(acquires[1].parent, Some(log.kept.span("alone").id));
    let opens = log.kept.spans("mcp.open");
    let parents: Vec<_> = opens.iter().map(|open| open.parent).collect();
    assert_eq!(parents, [Some(acquires[0].id), Some(acquires[1].id)]);
    manager.shutdown().await;

    log.kept.forget();
    let pinned = settings().sharing(Sharing::Pinned);
    let manager = wired.manager(pinned).await;
    let tools = manager.tools("test").unwrap();
    for (at, scope) in ["a", "b"].into_iter().enumerate() {
        let scoped = tools.scoped(scope);
        common::echo(&scoped, "m").await;
        let (acquires, opens) = (log.kept.spans("mcp.acquire"), log.kept.spans("mcp.open"));
        assert_eq!(opens[at].parent, Some(acquires[at].id), "{scope}");
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn what_nobody_waits_for_is_opened_in_a_trace_of_its_own() {
    let log = Spans::begin();
    let wired = Wired::new(TestServer::new());
    let settings = settings()
        .initialization(Initialization::Eager)
        .min_connections(1);
    let making = wired.manager(settings).instrument(info_span!("start"));
    let manager = making.await;
    let opened = || !log.kept.lines_of("session opened").is_empty();
    while !opened() {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(log.kept.span("mcp.open").parent, None);
    assert!(log.kept.spans("mcp.acquire").is_empty());
    manager.shutdown().await;
}

/// A subscriber may be set for one thread alone, and a span of it means nothing to any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_is_traced_by_the_subscriber_of_its_caller() {
    several_subscribers();
    let kept = Kept::default();
    let dispatch = tracing::Dispatch::new(kept.subscriber());
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings()).await;
    let tools = manager.tools("test").unwrap();
    use tracing::instrument::WithSubscriber;
    let echo = tools.call("echo", json!({ "message": "m" }));
    let echoed = timeout(LONG, echo.with_subscriber(dispatch)).await.unwrap();
    assert_eq!(text(&echoed.unwrap()), "m");
    let acquire = kept.span("mcp.acquire");
    assert_eq!(kept.span("mcp.open").parent, Some(acquire.id));
    manager.shutdown().await;
}

#[tokio::test]
async fn a_server_that_fails_to_start_at_first_is_a_fault_of_the_try_alone() {
    let log = Spans::begin();
    let wired = Wired::new(TestServer::with_faults(Faults {
        fail_first: Some(FailFirst {
            // The second is that of the same try with `initialize`.
            openings: 2,
            how: OpeningFailure::Exit,
            state_file: None,
        }),
        ..Faults::default()
    }));
    let manager = wired
        .manager(
            settings()
                .retry_attempts(2)
                .retry_delay(Duration::from_millis(1)),
        )
        .await;
    let tools = manager.tools("test").unwrap();
    common::echo(&tools, "m").await;
    let opens = log.kept.spans("mcp.open");
    let ends = opens
        .iter()
        .map(|open| (open.field("error.type"), open.field("era")));
    assert_eq!(
        ends.collect::<Vec<_>>(),
        [("handshake", ""), ("", "modern")]
    );
    let call = log.kept.span("mcp.call");
    assert_eq!((call.field("outcome"), call.field("attempt")), ("ok", "1"));
    manager.shutdown().await;
}
