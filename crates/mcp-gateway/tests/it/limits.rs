//! How much a principal may ask for, and what.

use mcp_gateway::Gateway;
use mcp_testkit::{TestServer, process::wait_until};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::common::{
    LONG, Served,
    edge::{ANN, BEN, call, list, manager, request, served, two_tokens},
    raw::Legacy,
};

#[tokio::test]
async fn a_principal_beyond_its_rate_is_told_to_wait_and_another_is_not() {
    let gateway = served(
        &TestServer::new(),
        json!({ "tokens": two_tokens(), "rate_limit": 2 }),
    )
    .await;
    let send = async |token: &str| {
        request(&gateway, token, "tools/list", json!({}))
            .send()
            .await
            .unwrap()
    };
    for _ in 0..2 {
        assert_eq!(send(ANN).await.status(), StatusCode::OK);
    }
    let refused = send(ANN).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(send(BEN).await.status(), StatusCode::OK);
    gateway.stop().await;
}

#[tokio::test]
async fn a_tool_that_is_not_allowed_is_neither_listed_nor_called_by_any_of_its_names() {
    let server = TestServer::new();
    let allow = json!({ "ann": ["test.echo"] });
    let gateway = served(&server, json!({ "tokens": two_tokens(), "allow": allow })).await;
    assert_eq!(list(&gateway, ANN).await, ["test__echo"]);
    assert!(list(&gateway, BEN).await.len() > 1);
    for name in ["test__sleep", "mcp.test.sleep", "test.sleep"] {
        let refused = call(&gateway, ANN, name, json!({ "ms": 1 })).await;
        let error = &refused["error"];
        assert_eq!(error["data"]["source"], "mcp-pool", "{refused}");
        let message = error["message"].as_str().unwrap();
        assert_eq!(
            message,
            format!("tool `{name}` is not allowed for token:ann")
        );
    }
    assert_eq!(server.calls(), 0);
    let allowed = call(&gateway, ANN, "test__echo", json!({ "message": "hi" })).await;
    assert!(allowed["result"].is_object(), "{allowed}");
    let other = call(&gateway, BEN, "test__sleep", json!({ "ms": 1 })).await;
    assert!(other["result"].is_object(), "{other}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_beyond_its_calls_is_refused_another_with_a_hint() {
    let server = TestServer::new();
    let manager = crate::common::manager(&server).await;
    let served = Served::start(Gateway::builder(manager).max_calls_per_session(1)).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.call(1, "test__sleep", json!({"ms": 500})).await }
    });
    assert!(wait_until(LONG, || server.calls_of("sleep") == 1).await);
    let refused = client.call(2, "test__echo", json!({"message": "a"})).await;
    let refused: Value = refused.json().await.unwrap();
    let error = &refused["error"];
    assert_eq!(error["message"], "1 requests of this session are under way");
    assert!(error["data"]["hint"].is_string(), "{error}");
    assert_eq!(first.await.unwrap().status(), StatusCode::OK);
    let after = client.call(3, "test__echo", json!({"message": "a"})).await;
    let after: Value = after.json().await.unwrap();
    assert!(after["result"].is_object(), "{after}");
    served.stop().await;
}

#[tokio::test]
async fn one_principal_cannot_hold_all_connections_of_the_listener() {
    let manager = manager(&TestServer::new(), json!({ "tokens": two_tokens() })).await;
    let gateway = Gateway::builder(manager).max_sessions(64, 4_096);
    let gateway = Served::start(gateway).await;
    let listen = || async {
        let wanted = json!({ "notifications": { "toolsListChanged": true } });
        let sent = request(&gateway, ANN, "subscriptions/listen", wanted).send();
        sent.await.unwrap()
    };
    let mut open = Vec::new();
    let refused = loop {
        let response = listen().await;
        match response.status() {
            StatusCode::OK => open.push(response),
            _ => break response,
        }
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(open.len(), 256, "so many in any case");
    assert!(!list(&gateway, BEN).await.is_empty(), "another is served");
    open.clear();
    let served_again = async {
        while listen().await.status() != StatusCode::OK {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, served_again).await.unwrap();
    gateway.stop().await;
}
