//! Trace context of a call in its request's `_meta`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    deprecated,
    reason = "tests: a panic is a verdict; log levels are deprecated by the protocol, and still in use"
)]

use crate::common;
use crate::common::wired;
use std::{collections::BTreeMap, sync::Arc};

use common::{manager, process, whoami};
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, PoolSettings, PooledTools, TraceContext,
    config::{Lifecycle, Replay},
};
use mcp_testkit::{Faults, TestServer};
use opentelemetry::{
    SpanId, TraceId, global,
    trace::{SpanKind, Status, TracerProvider},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{InMemorySpanExporter, SdkTracerProvider, SpanData},
};
use parking_lot::Mutex;
use rmcp::model::{
    ArgumentInfo, CallToolRequestParams, CompleteRequestParams, GetPromptRequestParams,
    LoggingLevel, ReadResourceRequestParams, Reference, RequestMetaObject, SetLevelRequestParams,
};
use serde_json::{Value, json};
use tracing::{Dispatch, Instrument, info_span, subscriber::DefaultGuard};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt};
use wired::Wired;

/// The SDK of OpenTelemetry, exporting to memory what is traced on this thread.
struct Tracing {
    exporter: InMemorySpanExporter,
    provider: SdkTracerProvider,
    _guard: DefaultGuard,
}

impl Tracing {
    fn begin(level: LevelFilter) -> Self {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(exporter.clone())
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = || tracing_subscriber::registry().with(level);
        // With one subscriber alone, what is first met on another thread, which has none, would be off for good.
        static ANOTHER: std::sync::OnceLock<Dispatch> = std::sync::OnceLock::new();
        ANOTHER.get_or_init(|| Dispatch::new(subscriber()));
        Self {
            exporter,
            provider,
            _guard: tracing::subscriber::set_default(subscriber().with(layer)),
        }
    }

    /// The spans of calls that have ended, in their order.
    fn calls(&self) -> Vec<SpanData> {
        self.ended(|span| span.span_kind == SpanKind::Client)
    }

    /// The only span of this name.
    fn span(&self, name: &str) -> SpanData {
        let mut spans = self.ended(|span| span.name == name);
        assert_eq!(spans.len(), 1, "{spans:#?}");
        spans.remove(0)
    }

    fn ended(&self, wanted: impl Fn(&SpanData) -> bool) -> Vec<SpanData> {
        self.provider.force_flush().unwrap();
        let mut spans = self.exporter.get_finished_spans().unwrap();
        spans.retain(wanted);
        spans.sort_by_key(|span| span.start_time);
        spans
    }
}

fn ids(span: &SpanData) -> (TraceId, SpanId) {
    let context = &span.span_context;
    (context.trace_id(), context.span_id())
}

/// The trace and the span that a `traceparent` names.
fn parsed(traceparent: &Value) -> (TraceId, SpanId) {
    let text = traceparent.as_str().unwrap();
    let parts: Vec<_> = text.split('-').collect();
    assert_eq!((parts[0], parts[3]), ("00", "01"), "{text}");
    let id = (TraceId::from_hex(parts[1]), SpanId::from_hex(parts[2]));
    (id.0.unwrap(), id.1.unwrap())
}

async fn meta_seen_by(tools: &PooledTools) -> Value {
    let seen = tools.call("whoami", json!({})).await.unwrap();
    whoami(&seen)["meta"].clone()
}

/// A server whose requests are kept, each as its method and its `_meta`.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(String, Value)>>>);

impl Heard {
    fn wired(&self, server: TestServer) -> Wired {
        let heard = Arc::clone(&self.0);
        let hears = move |line: &str| {
            let message: Value = serde_json::from_str(line).unwrap();
            if let (Some(method), Some(_)) = (message["method"].as_str(), message.get("id")) {
                let meta = message["params"]["_meta"].clone();
                heard.lock().push((method.to_owned(), meta));
            }
            true
        };
        Wired::hearing(hears, server)
    }

    /// The metadata of the requests so far of this method.
    fn of(&self, method: &str) -> Vec<Value> {
        let heard = self.0.lock();
        let of = heard.iter().filter(|(heard, _)| heard == method);
        of.map(|(_, meta)| meta.clone()).collect()
    }

    fn take(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[tokio::test]
async fn the_servers_parent_is_the_span_of_the_call() {
    let tracing = Tracing::begin(LevelFilter::DEBUG);
    let manager = manager(process(&[]), PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let request = info_span!("request");
    let meta = meta_seen_by(&tools).instrument(request).await;

    let call = tracing.span("tools/call whoami");
    let request = tracing.span("request");
    assert_eq!(parsed(&meta["traceparent"]), ids(&call));
    assert_eq!(ids(&call).0, ids(&request).0, "one trace");
    assert_eq!(call.parent_span_id, request.span_context.span_id());
    assert_eq!(call.span_kind, SpanKind::Client);
    assert_eq!(call.status, Status::Unset);
    let attributes: BTreeMap<_, _> = call
        .attributes
        .iter()
        .map(|attribute| (attribute.key.as_str(), attribute.value.to_string()))
        .collect();
    for (name, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "whoami"),
        ("gen_ai.operation.name", "execute_tool"),
        ("network.transport", "pipe"),
        ("server", "test"),
        ("outcome", "ok"),
        ("attempt", "1"),
    ] {
        assert_eq!(attributes[name], value, "{name}");
    }
    assert!(!attributes.contains_key("error.type"), "{attributes:?}");

    // The opening that the call waited for is in the same trace, and has been exported though its session lives.
    let acquire = tracing.span("mcp.acquire");
    let open = tracing.span("mcp.open");
    assert_eq!(acquire.parent_span_id, call.span_context.span_id());
    assert_eq!(open.parent_span_id, acquire.span_context.span_id());
    assert!(open.end_time <= call.end_time);
    assert!(meta.get("tracestate").is_none(), "it is empty: {meta}");
    manager.shutdown().await;
}

#[tokio::test]
async fn a_failed_call_is_an_error_in_its_trace() {
    let tracing = Tracing::begin(LevelFilter::DEBUG);
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let refused = json!({ "code": -32602, "message": "no" });
    tools.call("fail", refused).await.unwrap_err();
    let call = tracing.span("tools/call fail");
    assert!(matches!(call.status, Status::Error { .. }), "{call:?}");
    manager.shutdown().await;
}

#[tokio::test]
async fn where_calls_have_no_spans_the_parent_is_the_callers_own() {
    let tracing = Tracing::begin(LevelFilter::INFO);
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let request = info_span!("request");
    let meta = meta_seen_by(&tools).instrument(request).await;
    assert!(tracing.calls().is_empty());
    let request = tracing.span("request");
    assert_eq!(parsed(&meta["traceparent"]), ids(&request));
    manager.shutdown().await;
}

#[tokio::test]
async fn a_trace_that_the_caller_names_is_left_as_it_is() {
    let _tracing = Tracing::begin(LevelFilter::DEBUG);
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let mut own = RequestMetaObject::new();
    own.set_traceparent(theirs);
    own.set_tracestate("vendor=1");
    let params = CallToolRequestParams::new("whoami");
    let mut with_own = params.clone();
    with_own.meta = Some(own.clone());
    let by_params = tools.call_tool(with_own).await.unwrap();
    let options = CallOptions::new().meta(own);
    let by_options = tools.call_tool_with(params, options).await.unwrap();
    for seen in [by_params, by_options] {
        let meta = &whoami(&seen)["meta"];
        assert_eq!(meta["traceparent"], theirs);
        assert_eq!(meta["tracestate"], "vendor=1");
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn outside_of_any_trace_nothing_is_told() {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(PoolSettings::new()).await;
    let meta = meta_seen_by(&manager.tools("test").unwrap()).await;
    for name in ["traceparent", "tracestate", "baggage"] {
        assert!(meta.get(name).is_none(), "{meta}");
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn each_attempt_tells_of_its_own_span() {
    let tracing = Tracing::begin(LevelFilter::DEBUG);
    let heard = Heard::default();
    let wired = heard.wired(TestServer::with_faults(Faults {
        exit_mid_call: Some("echo".into()),
        ..Faults::default()
    }));
    let manager = wired.manager(PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let arguments = json!({ "message": "m" }).as_object().cloned().unwrap();
    let params = CallToolRequestParams::new("echo").with_arguments(arguments);
    let options = CallOptions::new().replay(Replay::Always);
    tools.call_tool_with(params, options).await.unwrap_err();

    let reported = heard.of("tools/call");
    let reported: Vec<_> = reported
        .iter()
        .map(|meta| parsed(&meta["traceparent"]))
        .collect();
    let calls = tracing.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(reported, calls.iter().map(ids).collect::<Vec<_>>());
    manager.shutdown().await;
}

/// Everything that may go out through a call.
async fn ask_everything(manager: &ConnectionManager) {
    let tools = manager.tools("test").unwrap();
    let held = tools.session().await.unwrap();
    let direct = manager.direct_tools("test").unwrap();
    let prompt = || GetPromptRequestParams::new("none");
    let resource = || ReadResourceRequestParams::new("none://");
    let completion = || {
        let argument = ArgumentInfo::new("a", "b");
        CompleteRequestParams::new(Reference::for_prompt("none"), argument)
    };
    // What the server makes of them is its own affair.
    macro_rules! ask {
        ($($tools:ident)*) => {$(
            let _ = $tools.list_tools(None).await;
            let _ = $tools.list_all_tools().await;
            let _ = $tools.list_prompts(None).await;
            let _ = $tools.list_all_prompts().await;
            let _ = $tools.list_resources(None).await;
            let _ = $tools.list_all_resources().await;
            let _ = $tools.list_resource_templates(None).await;
            let _ = $tools.list_all_resource_templates().await;
            let _ = $tools.get_prompt(prompt()).await;
            let _ = $tools.read_resource(resource()).await;
            let _ = $tools.complete(completion()).await;
            let _ = $tools.call_tool_once(CallToolRequestParams::new("stats")).await;
            let _ = $tools.call_tool(CallToolRequestParams::new("stats")).await;
        )*};
    }
    ask!(tools held direct);
    let _ = tools
        .set_level(SetLevelRequestParams::new(LoggingLevel::Info))
        .await;
    let progress = CallOptions::new().on_progress(|_| {});
    let params = CallToolRequestParams::new("stats");
    let _ = tools.call_tool_with(params, progress).await;
}

#[tokio::test]
async fn every_request_of_a_call_carries_it() {
    let tracing = Tracing::begin(LevelFilter::DEBUG);
    let heard = Heard::default();
    let options = mcp_testkit::Options {
        paging: mcp_testkit::Paging::Size(2),
        ..Default::default()
    };
    let wired = heard.wired(TestServer::with_options(options));
    let settings = PoolSettings::new().lifecycle(Lifecycle::Initialize);
    let manager = wired.manager(settings).await;
    let asking = ask_everything(&manager);
    asking.instrument(info_span!("request")).await;

    // The level for the other sessions is not set by the call.
    let request = tracing.span("request");
    let known: Vec<_> = tracing.calls().iter().chain([&request]).map(ids).collect();
    let mut methods = BTreeMap::<_, u32>::new();
    for (method, meta) in heard.take() {
        // What opens, probes and sets up a session is no call's.
        if ["initialize", "server/discover", "ping"].contains(&&*method) {
            continue;
        }
        assert!(meta["traceparent"].is_string(), "{method}: {meta}");
        let reported = parsed(&meta["traceparent"]);
        assert!(known.contains(&reported), "{method}: {reported:?}");
        *methods.entry(method).or_default() += 1;
    }
    let expected = [
        "completion/complete",
        "logging/setLevel",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "tools/call",
        "tools/list",
    ];
    assert_eq!(methods.keys().map(|it| &**it).collect::<Vec<_>>(), expected);
    assert!(
        methods["tools/list"] > 6,
        "each page of a list: {methods:?}"
    );
    assert_eq!(methods["tools/call"], 7);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_program_may_know_its_trace_by_itself() {
    let _tracing = Tracing::begin(LevelFilter::DEBUG);
    let wired = Wired::new(TestServer::new());
    let context = || Some(TraceContext::new("mine").tracestate("a=1").baggage("b=2"));
    for own in [true, false] {
        let manager = ConnectionManager::builder()
            .connector("test", wired.clone(), PoolSettings::new())
            .trace_context(move || own.then(context).flatten())
            .build()
            .await
            .unwrap();
        let meta = meta_seen_by(&manager.tools("test").unwrap()).await;
        let seen = ["traceparent", "tracestate", "baggage"].map(|name| meta[name].as_str());
        let expected = own.then_some(["mine", "a=1", "b=2"]);
        assert_eq!(seen, expected.map_or([None; 3], |all| all.map(Some)));
        manager.shutdown().await;
    }
}
