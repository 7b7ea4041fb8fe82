//! Items and replies of servers arrive as they were sent.

use std::sync::Arc;

use mcp_pooled_tools::{
    Aggregator, ConnectionManager, PoolSettings, Request, RequestOptions, config::Lifecycle,
};
use proptest::{prelude::*, test_runner::TestRunner};
use rmcp::model::PaginatedRequestParams;
use serde_json::{Value, json};

use crate::common::scripted::Scripted;

async fn aggregator(servers: &[(&str, Scripted)]) -> (ConnectionManager, Aggregator) {
    let mut builder = ConnectionManager::builder();
    for (name, server) in servers {
        let settings = PoolSettings::new().lifecycle(Lifecycle::Initialize);
        builder = builder.connector(*name, server.clone(), settings);
    }
    let manager = builder.build().await.unwrap();
    let all = manager.aggregator();
    (manager, all)
}

async fn raw(all: &Aggregator, method: &'static str, params: Value) -> String {
    let params = serde_json::value::to_raw_value(&params).unwrap();
    let request = Request::from_raw(method, Some(&params)).unwrap();
    let reply = all.send(request, RequestOptions::new()).await.unwrap();
    reply.raw().get().to_owned()
}

#[tokio::test]
async fn pain_34_fields_that_no_model_knows_arrive_byte_for_byte() {
    const TOOL: &str =
        r#"{ "odd":1.50, "name" : "t", "icons":[{"src":"x"}], "_meta":{"a":{"b":[null, 1e3]}} }"#;
    const RESULT: &str = r#"{ "content":[{"type":"hologram","x" : 1.0},{"type":"resource_link","uri":"x://new","z":1}], "more":{"deep":[ ]}}"#;
    let server = Scripted::new(json!({"tools": {}}), |method, params| {
        Some(Ok(match method {
            "tools/list" => format!(r#"{{"tools":[{TOOL}]}}"#),
            "tools/call" if params["name"] == "t" => RESULT.to_owned(),
            _ => {
                return Some(Err(
                    json!({"code": -32000, "message": "no", "data": {"x": 1}}).to_string(),
                ));
            }
        }))
    });
    let (manager, all) = aggregator(&[("s", server)]).await;
    let page = raw(&all, "tools/list", json!({})).await;
    let expected = TOOL.replace("\"t\"", "\"s__t\"");
    assert!(page.contains(&expected), "{page}");
    let result = raw(&all, "tools/call", json!({"name": "s__t", "arguments": {}})).await;
    assert_eq!(result, RESULT.replace("x://new", "mcp+s:x%3A%2F%2Fnew"));
    manager.shutdown().await;
}

#[test]
fn random_json_in_tools_and_results_is_the_same_json() {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let any_json = leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map("[a-z_/\"\\\\]{1,8}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let said = Arc::new(parking_lot::Mutex::new(Value::Null));
    let (manager, all) = runtime.block_on(async {
        let said = Arc::clone(&said);
        let server = Scripted::new(json!({"tools": {}}), move |method, _| {
            let said = said.lock().clone();
            Some(Ok(match method {
                "tools/list" => json!({"tools": [{"name": "t"}]}),
                _ => json!({"content": [{"type": "odd", "x": said}], "structuredContent": said, "more": said}),
            }
            .to_string()))
        });
        aggregator(&[("s", server)]).await
    });
    TestRunner::new(ProptestConfig::with_cases(200))
        .run(&any_json, |value| {
            *said.lock() = value.clone();
            let result = runtime.block_on(raw(&all, "tools/call", json!({"name": "s__t"})));
            let result: Value = serde_json::from_str(&result).unwrap();
            prop_assert_eq!(&result["content"][0]["x"], &value);
            prop_assert_eq!(&result["structuredContent"], &value);
            prop_assert_eq!(&result["more"], &value);
            Ok(())
        })
        .unwrap();
    runtime.block_on(manager.shutdown());
}

#[tokio::test]
async fn pain_38_cursors_are_opaque_and_of_one_list() {
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(1_500));
    let counted = Arc::clone(&count);
    let server = Scripted::new(json!({"tools": {"listChanged": true}}), move |method, _| {
        let tools: Vec<_> = (0..counted.load(std::sync::atomic::Ordering::Relaxed))
            .map(|number| json!({"name": format!("t{number}"), "inputSchema": {"type": "object"}}))
            .collect();
        Some(Ok(match method {
            "tools/list" => json!({"tools": tools, "ttlMs": 1}),
            _ => json!({}),
        }
        .to_string()))
    });
    let (manager, all) = aggregator(&[("s", server)]).await;
    let first = all.list_tools(None).await.unwrap();
    assert_eq!(first.tools.len(), 1_000);
    let next = PaginatedRequestParams::default().with_cursor(first.next_cursor.clone());
    let second = all.list_tools(Some(next.clone())).await.unwrap();
    assert_eq!((second.tools.len(), second.next_cursor), (500, None));
    assert_eq!(all.list_all_tools().await.unwrap().len(), 1_500);
    let made_up = PaginatedRequestParams::default().with_cursor(Some("8".to_owned()));
    assert_eq!(
        all.list_tools(Some(made_up))
            .await
            .unwrap_err()
            .protocol()
            .unwrap()
            .code
            .0,
        -32_602
    );

    count.store(1_200, std::sync::atomic::Ordering::Relaxed);
    let mut changes = all.list_changes();
    while all.list_all_tools().await.unwrap().len() != 1_200 {
        // Its time is short, and it is fetched again for a listing.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(200), changes.next()).await;
    }
    let error = all.list_tools(Some(next)).await.unwrap_err();
    assert!(error.to_string().contains("changed"), "{error}");
    manager.shutdown().await;
}
