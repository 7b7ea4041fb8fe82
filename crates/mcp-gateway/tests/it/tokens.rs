//! Who is let in: static tokens.

use mcp_testkit::TestServer;
use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::common::{
    edge::{ANN, BEN, call, config, list, manager, request, served, two_tokens},
    raw,
};
use mcp_gateway::Gateway;

#[tokio::test]
async fn a_request_without_a_token_that_is_known_is_refused_with_a_challenge() {
    let server = TestServer::new();
    let gateway = served(&server, json!({ "tokens": two_tokens() })).await;
    let bare = raw::modern_request(&Client::new(), &gateway.url(), 1, "tools/list", json!({}));
    let refused = bare.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    for wrong in [
        "a-token-of-ann-12",
        "a-token-of-ann-1234",
        "A-TOKEN-OF-ANN-123",
        "x.y.z",
    ] {
        let refused = request(&gateway, wrong, "tools/list", json!({}))
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(!refused.text().await.unwrap().contains("ann"));
    }
    let twice = request(&gateway, ANN, "tools/list", json!({}))
        .header("authorization", format!("Bearer {BEN}"));
    assert_eq!(
        twice.send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(server.calls(), 0);
    assert!(list(&gateway, ANN).await.contains(&"test__echo".to_owned()));
    gateway.stop().await;
}

#[tokio::test]
async fn a_token_may_be_configured_as_its_hash_or_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ben");
    std::fs::write(&file, format!("{BEN}\n")).unwrap();
    let tokens = json!({
        // printf %s a-token-of-ann-123 | sha256sum
        "ann": { "sha256": "5b2a259c9a13e919175235be342d5320dd5af958627ce5cab584a5394d13c4ef" },
        "ben": { "file": file },
    });
    let gateway = served(&TestServer::new(), json!({ "tokens": tokens })).await;
    for token in [ANN, BEN] {
        assert!(!list(&gateway, token).await.is_empty());
    }
    gateway.stop().await;
    let manager = manager(
        &TestServer::new(),
        json!({ "tokens": { "ann": { "file": folder.path().join("none") } } }),
    )
    .await;
    let error = Gateway::builder(manager).build().unwrap_err().to_string();
    assert!(
        error.contains("token of `ann`") && error.contains("create it"),
        "{error}"
    );
}

#[tokio::test]
async fn a_reload_changes_who_is_let_in_without_a_restart() {
    let server = TestServer::new();
    let manager = manager(&server, json!({ "tokens": { "ann": ANN } })).await;
    let gateway = crate::common::Served::start(Gateway::builder(manager.clone())).await;
    let status = async |token: &str| {
        let sent = request(&gateway, token, "tools/list", json!({}))
            .send()
            .await;
        sent.unwrap().status()
    };
    assert_eq!(
        (status(ANN).await, status(BEN).await),
        (StatusCode::OK, StatusCode::UNAUTHORIZED)
    );
    let load = |gateway| {
        let loader = mcp_pooled_tools::config::Loader::new().environment([("", ""); 0]);
        let loaded = loader
            .gateway(config(gateway))
            .text("f", r#"{"test": {"command": "x"}}"#)
            .load();
        loaded.unwrap()
    };
    let changes = manager
        .reload(load(json!({ "tokens": { "ben": BEN } })))
        .unwrap();
    assert!(changes.gateway);
    assert_eq!(
        (status(ANN).await, status(BEN).await),
        (StatusCode::UNAUTHORIZED, StatusCode::OK)
    );
    let unreadable = json!({ "tokens": { "ann": { "file": "/nowhere/token" } } });
    assert!(manager.reload(load(unreadable)).unwrap().gateway);
    assert_eq!(
        status(BEN).await,
        StatusCode::OK,
        "what cannot be used changes nothing"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_clients_token_is_not_passed_on() {
    use crate::common::edge::with_tool;
    let definition = json!({ "name": "read", "inputSchema": { "type": "object" } });
    let (server, gateway) = with_tool(definition, json!({ "tokens": two_tokens() })).await;
    let called = call(&gateway, ANN, "files__read", json!({})).await;
    assert_eq!(called["result"]["content"][0]["text"], "read");
    for asked in server.asked() {
        let headers = format!("{:?}", asked.headers);
        assert!(
            !headers.contains(ANN) && !headers.contains("authorization"),
            "{headers}"
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn pain_41_a_session_id_with_the_token_of_another_is_unknown() {
    let gateway = served(&TestServer::new(), json!({ "tokens": two_tokens() })).await;
    let http = Client::new();
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } });
    let opened = raw::post(&http, &gateway.url())
        .bearer_auth(ANN)
        .json(&raw::request(0, "initialize", params));
    let opened = opened.send().await.unwrap();
    let id = opened.headers()["mcp-session-id"].clone();
    let ping = async |token: &str| {
        let ping = raw::post(&http, &gateway.url())
            .bearer_auth(token)
            .header("mcp-session-id", &id);
        ping.json(&raw::request(1, "ping", json!({})))
            .send()
            .await
            .unwrap()
            .status()
    };
    assert_eq!(ping(ANN).await, StatusCode::OK);
    assert_eq!(ping(BEN).await, StatusCode::NOT_FOUND);
    gateway.stop().await;
}

#[tokio::test]
async fn a_reload_that_does_not_change_the_rate_keeps_its_counters() {
    let server = TestServer::new();
    let settings = |origin: &str| json!({ "tokens": { "ann": ANN }, "rate_limit": 1, "allowed_origins": [origin] });
    let manager = manager(&server, settings("https://one.test")).await;
    let gateway = crate::common::Served::start(Gateway::builder(manager.clone())).await;
    let status = async || {
        let sent = request(&gateway, ANN, "tools/list", json!({})).send().await;
        sent.unwrap().status()
    };
    assert_eq!(status().await, StatusCode::OK);
    let loader = mcp_pooled_tools::config::Loader::new().environment([("", ""); 0]);
    let loader = loader.gateway(config(settings("https://other.test")));
    let loaded = loader.text("f", r#"{"test": {"command": "x"}}"#).load();
    assert!(manager.reload(loaded.unwrap()).unwrap().gateway);
    assert_eq!(status().await, StatusCode::TOO_MANY_REQUESTS);
    gateway.stop().await;
}
