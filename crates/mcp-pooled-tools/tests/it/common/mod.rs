//! What the tests of this crate share.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub(crate) mod caller;
pub(crate) mod log;
pub mod project;
pub mod scripted;
pub(crate) mod spans;
pub(crate) mod wired;

use std::time::Duration;

use mcp_pooled_tools::{
    Client, ConnectionManager, PoolSettings, ServerConfig, core::connect::in_process::InProcess,
    rmcp::model::CallToolResult,
};
use mcp_testkit::TestServer;
use serde_json::json;

/// The test server as a real child process, with these faults.
pub fn process(faults: &[&str]) -> ServerConfig {
    ServerConfig::stdio(mcp_testkit::binary().to_string_lossy()).args(faults.iter().copied())
}

/// A manager of one server, `test`, that fails at once instead of trying again.
pub async fn manager(server: ServerConfig, settings: PoolSettings) -> ConnectionManager {
    ConnectionManager::builder()
        .server("test", server)
        .defaults(settings.over(PoolSettings::new().retry_attempts(0).min_connections(0)))
        .build()
        .await
        .expect("the settings of a test are valid")
}

/// A manager of one server in this process.
pub async fn in_process(server: &TestServer, settings: PoolSettings) -> ConnectionManager {
    let server = server.clone();
    ConnectionManager::builder()
        .connector("test", InProcess::new(move || server.clone()), settings)
        .build()
        .await
        .expect("the settings of a test are valid")
}

/// The text of a result.
pub fn text(result: &CallToolResult) -> String {
    result
        .content
        .iter()
        .filter_map(|content| content.as_text())
        .map(|text| text.text.as_str())
        .collect()
}

/// What the tool `echo` answers.
pub async fn echo(client: &dyn Client, message: &str) -> String {
    let called = client.call("echo", json!({ "message": message })).await;
    text(&called.expect("a server that echoes"))
}

/// What the tool `whoami` says.
pub fn whoami(result: &CallToolResult) -> serde_json::Value {
    serde_json::from_str(&text(result)).expect("whoami answers in JSON")
}

/// Long enough for anything that ends.
pub const LONG: Duration = Duration::from_secs(20);
