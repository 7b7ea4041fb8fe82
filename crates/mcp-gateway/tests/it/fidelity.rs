//! Whatever a server writes into a result reaches the client byte for byte.

use std::sync::Arc;

use mcp_gateway::Gateway;
use mcp_pooled_tools::{ConnectionManager, PoolSettings, ServerConfig};
use mcp_testkit::scripted_http::{Answer, ScriptedHttp};
use parking_lot::Mutex;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::common::{Served, raw::Legacy};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            object_of(inner),
        ]
    })
}

/// Objects, also with keys that mean something to a layer on the way.
fn object_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let known = [
        "id",
        "result",
        "error",
        "method",
        "_meta",
        "type",
        "resultType",
        "requestState",
        "content",
    ];
    let key = prop_oneof![
        any::<String>(),
        prop::sample::select(known.map(str::to_owned).to_vec()),
    ];
    let members = prop::collection::vec((key, value), 0..5);
    members.prop_map(|members| Value::Object(members.into_iter().collect()))
}

#[test]
fn pain_34_any_result_passes_through_the_gateway_byte_for_byte() {
    let runtime = Runtime::new().unwrap();
    let next = Arc::new(Mutex::new(String::new()));
    let (_server, served, client) = runtime.block_on(async {
        let next = Arc::clone(&next);
        let server = ScriptedHttp::start(move |asked| {
            (asked.method() == "tools/call").then(|| {
                let (id, result) = (asked.id(), next.lock());
                let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}");
                Answer::new(200, "application/json").bytes(body)
            })
        })
        .await;
        let manager = ConnectionManager::builder()
            .server("test", ServerConfig::http(server.url()))
            .defaults(PoolSettings::new().min_connections(0));
        let gateway = Gateway::builder(manager.build().await.unwrap());
        let served = Served::start(gateway).await;
        let client = Legacy::open(&served.url(), json!({})).await;
        (server, served, client)
    });
    let mut runner = TestRunner::new(Config::with_cases(200));
    let any = (object_of(any_json()), any::<bool>());
    let outcome = runner.run(&any, |(result, is_pretty)| {
        let text = match is_pretty {
            true => serde_json::to_string_pretty(&result).unwrap(),
            false => result.to_string(),
        };
        next.lock().clone_from(&text);
        let received = runtime.block_on(async {
            let response = client.call(1, "test__echo", json!({"message": "a"})).await;
            response.text().await.unwrap()
        });
        prop_assert_eq!(
            received,
            format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}}", text)
        );
        Ok(())
    });
    runtime.block_on(served.stop());
    outcome.unwrap();
}
