//! Clients over HTTP, of rmcp and without it.

use std::time::Duration;

use mcp_testkit::{Era, HttpOptions, HttpServer};
use reqwest::StatusCode;
use rmcp::{
    service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt},
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};

use crate::support::{Client, SOON};

pub(crate) async fn open(
    server: &HttpServer,
    lifecycle: ClientLifecycleMode,
) -> Result<Client, ClientInitializeError> {
    let transport = StreamableHttpClientTransport::from_uri(server.url());
    tokio::time::timeout(SOON, ().serve_with_lifecycle(transport, lifecycle))
        .await
        .expect("the opening hangs")
}

pub(crate) async fn start_as(era: Era) -> HttpServer {
    HttpServer::start(HttpOptions {
        era,
        ..HttpOptions::default()
    })
    .await
}

pub(crate) async fn raw_session(url: &str) -> String {
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "0"},
    }});
    let response = request(url).json(&initialize).send().await.unwrap();
    response.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned()
}

pub(crate) fn list() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
}

pub(crate) async fn post(url: &str, session: Option<&str>, message: Value) -> (StatusCode, String) {
    let mut request = request(url).header("mcp-protocol-version", "2025-11-25");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    let response = request.json(&message).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

pub(crate) async fn post_modern(url: &str, method: &str, message: Value) -> (StatusCode, Value) {
    let response = request(url)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
        .json(&message)
        .send()
        .await
        .unwrap();
    let status = response.status();
    let body = response.text().await.unwrap();
    // A reply by event stream has its JSON on a line of its own.
    let json = body
        .lines()
        .rev()
        .map(|line| line.trim_start_matches("data:"));
    let json = json
        .filter_map(|line| serde_json::from_str(line).ok())
        .next();
    (status, json.unwrap_or(Value::Null))
}

pub(crate) fn request(url: &str) -> reqwest::RequestBuilder {
    request_by(&reqwest::Client::new(), url)
}

pub(crate) fn request_by(client: &reqwest::Client, url: &str) -> reqwest::RequestBuilder {
    client
        .post(url)
        .timeout(Duration::from_secs(5))
        .header("accept", "application/json, text/event-stream")
}
