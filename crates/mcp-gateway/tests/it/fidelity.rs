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

/// The same, with numbers that every parser reads alike.
pub(crate) fn exact_json() -> impl Strategy<Value = Value> {
    any_json().prop_map(exact)
}

fn exact(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let eighths = number.as_f64().unwrap() % 1e6;
            json!(eighths.round() / 8.0)
        }
        Value::Array(values) => values.into_iter().map(exact).collect(),
        Value::Object(members) => {
            let members = members.into_iter();
            Value::Object(members.map(|(name, value)| (name, exact(value))).collect())
        }
        other => other,
    }
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

/// What the server answers next: the member of the response, and its JSON.
type Next = Arc<Mutex<(&'static str, String)>>;

/// Requests whose results are passed on.
const REQUESTS: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

async fn server(next: Next) -> ScriptedHttp {
    ScriptedHttp::start(move |asked| {
        if REQUESTS.contains(&asked.method()) {
            let (member, json) = next.lock().clone();
            let id = asked.id();
            let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{json}}}");
            return Some(Answer::new(200, "application/json").bytes(body));
        }
        let result = match asked.method() {
            "initialize" => {
                let session = "of-one";
                let reply = asked.reply(json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": { "tools": {}, "prompts": {}, "resources": {} },
                    "serverInfo": { "name": "any", "version": "1" },
                }));
                return Some(Answer::json(200, &reply).header("Mcp-Session-Id", session));
            }
            "tools/list" => json!({ "tools": [{ "name": "t", "inputSchema": {} }] }),
            "prompts/list" => json!({ "prompts": [{ "name": "p" }] }),
            "resources/list" => json!({ "resources": [{ "uri": "x://a", "name": "a" }] }),
            "resources/templates/list" => json!({ "resourceTemplates": [] }),
            "ping" => json!({}),
            _ if asked.verb != "POST" => return None,
            _ if asked.id().is_null() => return Some(Answer::status(202, "")),
            _ => return None,
        };
        Some(Answer::json(200, &asked.reply(result)))
    })
    .await
}

fn any_error() -> impl Strategy<Value = Value> {
    // Codes that mean nothing to the layers on the way.
    let code = prop_oneof![1..40_000, -40_000..-33_000, Just(-32_602), Just(-32_603)];
    (code, any::<String>(), prop::option::of(exact_json())).prop_map(|(code, message, data)| {
        let mut error = json!({ "code": code, "message": message });
        // No data and null are the same.
        if let Some(data) = data.filter(|data| !data.is_null()) {
            error["data"] = data;
        }
        error
    })
}

#[test]
fn pain_34_pain_40_any_result_passes_byte_for_byte_and_any_error_with_code_message_and_data() {
    let runtime = Runtime::new().unwrap();
    let next = Next::default();
    let (_server, served, client) = runtime.block_on(async {
        let server = server(Arc::clone(&next)).await;
        let manager = ConnectionManager::builder()
            .server("test", ServerConfig::http(server.url()))
            .defaults(PoolSettings::new().min_connections(0).retry_attempts(0));
        let gateway = Gateway::builder(manager.build().await.unwrap());
        let served = Served::start(gateway).await;
        let client = Legacy::open(&served.url(), json!({})).await;
        (server, served, client)
    });
    let mut runner = TestRunner::new(Config::with_cases(300));
    let request = prop::sample::select(REQUESTS.to_vec());
    let any = (request, object_of(any_json()), any::<bool>(), any_error());
    let outcome = runner.run(&any, |(request, result, is_pretty, error)| {
        let receive = |member: &'static str, json: &str| {
            *next.lock() = (member, json.to_owned());
            let params = match request {
                "tools/call" => json!({ "name": "test__t", "arguments": {} }),
                "prompts/get" => json!({ "name": "test__p" }),
                _ => json!({ "uri": "x://a" }),
            };
            runtime.block_on(async {
                let response = client.send(1, request, params).await;
                response.text().await.unwrap()
            })
        };
        let text = match is_pretty {
            true => serde_json::to_string_pretty(&result).unwrap(),
            false => result.to_string(),
        };
        prop_assert_eq!(
            receive("result", &text),
            format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}}", text)
        );
        let received: Value = serde_json::from_str(&receive("error", &error.to_string())).unwrap();
        prop_assert_eq!(&received["error"], &error);
        Ok(())
    });
    runtime.block_on(served.stop());
    outcome.unwrap();
}
