//! How much a principal may ask for, and what.

use mcp_testkit::TestServer;
use reqwest::StatusCode;
use serde_json::json;

use crate::common::edge::{ANN, BEN, call, list, request, served, two_tokens};

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
