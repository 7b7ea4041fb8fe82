//! A gateway with a configuration of its edge, and servers whose tools change.

use std::sync::Arc;

use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    ConnectionManager, GatewayConfig, PoolSettings, ServerConfig,
    core::connect::in_process::InProcess,
};
use mcp_testkit::{
    TestServer,
    scripted_http::{Answer, ScriptedHttp},
};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Served, raw};

pub(crate) const ANN: &str = "a-token-of-ann-123";
pub(crate) const BEN: &str = "a-token-of-ben-123";

/// A configuration, as a file has it.
pub(crate) fn config(gateway: Value) -> GatewayConfig {
    let file = json!({ "mcpServers": {}, "gateway": gateway });
    let loader = mcp_pooled_tools::config::Loader::new().environment([("", ""); 0]);
    let loaded = loader.text("gateway.json", file.to_string()).load();
    loaded.unwrap().gateway
}

/// The tokens of two principals.
pub(crate) fn two_tokens() -> Value {
    json!({ "ann": ANN, "ben": BEN })
}

pub(crate) async fn manager(server: &TestServer, gateway: Value) -> ConnectionManager {
    let server = server.clone();
    let settings = PoolSettings::new().retry_attempts(0).min_connections(0);
    ConnectionManager::builder()
        .gateway(config(gateway))
        .connector("test", InProcess::new(move || server.clone()), settings)
        .build()
        .await
        .unwrap()
}

/// A gateway to the server `test` with this configuration.
pub(crate) async fn served(server: &TestServer, gateway: Value) -> Served {
    let manager = manager(server, gateway).await;
    Served::start(Gateway::builder(manager)).await
}

/// A gateway to the server `files`, whose one tool `read` has this definition.
pub(crate) async fn with_tool(definition: Value, gateway: Value) -> (Arc<ScriptedHttp>, Served) {
    let server = Arc::new(server_with(definition).await);
    let settings = PoolSettings::new().retry_attempts(0).min_connections(0);
    let manager = ConnectionManager::builder()
        .gateway(config(gateway))
        .server("files", ServerConfig::http(server.url()))
        .defaults(settings)
        .build()
        .await
        .unwrap();
    let gateway = Gateway::builder(manager).admin(|admin| admin.open_reads(true));
    (server, Served::start(gateway).await)
}

async fn server_with(definition: Value) -> ScriptedHttp {
    ScriptedHttp::start(move |asked| {
        let result = match asked.method() {
            "initialize" => json!({
                "protocolVersion": "2025-11-25",
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "files", "version": "1" },
            }),
            "tools/list" => json!({ "tools": [definition] }),
            "tools/call" => json!({ "content": [{ "type": "text", "text": "read" }] }),
            "ping" => json!({}),
            _ if asked.id().is_null() => return Some(Answer::status(202, "")),
            _ => return None,
        };
        Some(Answer::json(200, &asked.reply(result)))
    })
    .await
}

/// A modern request with this token.
pub(crate) fn request(served: &Served, token: &str, method: &str, params: Value) -> RequestBuilder {
    raw::modern_request(&Client::new(), &served.url(), 1, method, params).bearer_auth(token)
}

pub(crate) async fn list(served: &Served, token: &str) -> Vec<String> {
    let response = request(served, token, "tools/list", json!({})).send().await;
    let body = body(response.unwrap()).await;
    let tools = body["result"]["tools"].as_array().unwrap();
    let names = tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned());
    names.collect()
}

pub(crate) async fn call(served: &Served, token: &str, tool: &str, arguments: Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments });
    let response = request(served, token, "tools/call", params).send().await;
    body(response.unwrap()).await
}

/// The message in a response, be it JSON or the last of a stream.
pub(crate) async fn body(response: Response) -> Value {
    let text = response.text().await.unwrap();
    let last = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .next_back();
    serde_json::from_str(last.unwrap_or(&text)).unwrap_or_else(|_| panic!("{text}"))
}
