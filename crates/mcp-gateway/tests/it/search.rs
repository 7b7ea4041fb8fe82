//! Tools that search and call, in place of a long list.

use mcp_testkit::TestServer;
use serde_json::{Value, json};

use crate::common::edge::{ANN, BEN, call, list, served, two_tokens};

#[tokio::test]
async fn pain_49_a_search_is_opted_in_split_by_annotation_and_audited_by_the_real_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let settings = json!({
        "tokens": two_tokens(), "tool_search": true, "audit_file": path, "allow": { "ben": ["test.sleep"] },
    });
    let gateway = served(&TestServer::new(), settings).await;
    assert_eq!(
        list(&gateway, ANN).await,
        ["search_tools", "call_read", "call_write"]
    );
    let search = async |token: &str| {
        let found = call(
            &gateway,
            token,
            "search_tools",
            json!({ "query": "echo a message" }),
        )
        .await;
        let tools = found["result"]["structuredContent"]["tools"]
            .as_array()
            .unwrap()
            .clone();
        tools
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(search(ANN).await[0], "test__echo");
    assert!(
        !search(BEN).await.contains(&"test__echo".to_owned()),
        "not allowed, not found"
    );

    let counted = json!({ "name": "test__count", "arguments": {} });
    let refused = call(&gateway, ANN, "call_read", counted).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert_eq!(message, "tool `count` does not say that it only reads");
    let echo = json!({ "name": "test__echo", "arguments": { "message": "hi" } });
    let read = call(&gateway, ANN, "call_read", echo.clone()).await;
    let write = call(&gateway, ANN, "call_write", echo.clone()).await;
    assert!(read["result"]["content"].is_array(), "{read}");
    assert!(write["result"]["content"].is_array(), "{write}");
    let refused = call(&gateway, BEN, "call_write", echo).await;
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("not allowed"),
        "{refused}"
    );
    gateway.stop().await;

    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let tools: Vec<_> = lines
        .iter()
        .map(|line| line["tool"].as_str().unwrap())
        .collect();
    assert_eq!(tools, ["count", "echo", "echo", "echo"], "{text}");
}
