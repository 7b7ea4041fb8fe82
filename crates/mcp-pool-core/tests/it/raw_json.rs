//! Whatever a server writes into its results comes through a raw request as the same JSON, over lines and over HTTP.

use crate::common;
use std::sync::Arc;

use common::{pool_of, quiet, raw::Raw, within};
use mcp_pool_core::{Lease, RawRequest, SessionPool, connect::http::Http};
use mcp_testkit::scripted_http::{Answer, ScriptedHttp};
use parking_lot::Mutex;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

/// Those whose results have open places, and one that nothing knows.
const METHODS: [&str; 8] = [
    "tools/call",
    "tools/list",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "x/y",
];

/// What the servers send as their next result.
type Next = Arc<Mutex<String>>;

fn any_json() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number,
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let fields = prop::collection::vec((any_key(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Also keys that mean something to a layer on the way.
fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::sample::select(vec![
            "id",
            "result",
            "error",
            "jsonrpc",
            "method",
            "_meta",
            "type",
            "resultType",
            "params",
        ])
        .prop_map(str::to_owned),
    ]
}

fn fields() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((any_key(), any_json()), 0..4)
        .prop_map(|fields| fields.into_iter().collect())
}

fn with(base: Value, more: Map<String, Value>) -> Value {
    let Value::Object(mut base) = base else {
        unreachable!("the literals below are objects")
    };
    for (key, value) in more {
        base.entry(key).or_insert(value);
    }
    Value::Object(base)
}

/// Requests, and results of theirs with something unknown in every open place.
fn any_result() -> impl Strategy<Value = (&'static str, Value)> {
    let parts = (fields(), fields(), any_json(), any_json());
    let methods = prop::sample::select(METHODS.to_vec());
    (methods, parts).prop_map(|(method, (of_result, of_item, one, other))| {
        let item = |base| [with(base, of_item)];
        let result = match method {
            "tools/call" => json!({"content": [item(json!({"type": "hologram"}))[0], one],
                "structuredContent": other}),
            "tools/list" => json!({"tools": item(json!({"name": "a", "inputSchema": one,
                "outputSchema": other, "annotations": one})), "nextCursor": other}),
            "prompts/list" => json!({"prompts": item(json!({"name": "a", "arguments": [one]})),
                "nextCursor": other}),
            "prompts/get" => json!({"messages": item(json!({"role": "user", "content": one})),
                "description": other}),
            "resources/list" => json!({"resources": item(json!({"uri": "a:b", "name": "a",
                "annotations": one})), "nextCursor": other}),
            "resources/templates/list" => json!({"resourceTemplates": item(json!({
                "uriTemplate": "a:{b}", "name": "a", "annotations": one})), "nextCursor": other}),
            "resources/read" => json!({"contents": item(json!({"uri": "a:b", "blob": one}))}),
            _ => return (method, one),
        };
        (method, with(result, of_result))
    })
}

/// The text of a value, as some servers would write it.
fn written(value: &Value, is_pretty: bool) -> String {
    match is_pretty {
        true => serde_json::to_string_pretty(value)
            .unwrap()
            .replace('\n', " "),
        false => value.to_string(),
    }
}

async fn over_lines(next: &Next) -> (SessionPool, Lease) {
    let next = Arc::clone(next);
    let connector = Raw(move |request: &Value| {
        let (id, result) = (&request["id"], next.lock());
        format!("{{\"id\":{id},\"result\":{result},\"jsonrpc\":\"2.0\"}}\n").into_bytes()
    });
    let pool = pool_of(connector, quiet());
    let lease = within(pool.acquire()).await.unwrap();
    (pool, lease)
}

async fn over_http(next: &Next, as_events: bool) -> (ScriptedHttp, SessionPool, Lease) {
    let next = Arc::clone(next);
    let server = ScriptedHttp::start(move |asked| {
        METHODS.contains(&asked.method()).then(|| {
            let (id, result) = (asked.id(), next.lock());
            let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
            match as_events {
                true => Answer::events().bytes(format!("data: {body}\n\n")),
                false => Answer::new(200, "application/json").bytes(body),
            }
        })
    })
    .await;
    let connector = Http::new(server.url()).unwrap();
    let pool = pool_of(connector, quiet());
    let lease = within(pool.acquire()).await.unwrap();
    (server, pool, lease)
}

#[test]
fn any_result_comes_through_as_it_is() {
    let runtime = Runtime::new().unwrap();
    let next = Next::default();
    let (_pool, lines) = runtime.block_on(over_lines(&next));
    let (_server, _json_pool, json) = runtime.block_on(over_http(&next, false));
    let (_other, _event_pool, events) = runtime.block_on(over_http(&next, true));
    let ways = [
        ("lines", lines),
        ("HTTP, JSON", json),
        ("HTTP, events", events),
    ];
    let mut runner = TestRunner::new(Config::with_cases(200));
    let any = (any_result(), any::<bool>());
    let outcome = runner.run(&any, |((method, result), is_pretty)| {
        let text = written(&result, is_pretty);
        next.lock().clone_from(&text);
        for (way, lease) in &ways {
            let received = runtime.block_on(within(lease.request(RawRequest::new(method))));
            let received = received
                .map_err(|error| TestCaseError::fail(format!("{way}, {method}: {error}")))?;
            prop_assert_eq!(received.get(), text.as_str(), "{}", way);
        }
        Ok(())
    });
    outcome.unwrap();
}
