//! The document against the routes: held by schemathesis, which makes up requests from the one and judges what the other
//! answers.
//!
//! It is not part of this repository. `.ci/run` installs it and names its command in `POOL_TEST_SCHEMATHESIS`; where that
//! is not set the test passes without having looked, and says so. With `POOL_TEST_REAL_SERVERS=required` it fails instead.

use crate::common;
use std::time::Duration;

use common::{Served, TOKEN, process, token};
use mcp_admin::Admin;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, PoolSettings, config::CircuitBreakerSettings,
};
use reqwest::Method;
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use tokio::process::Command;

fn schemathesis() -> Option<String> {
    let variable = "POOL_TEST_SCHEMATHESIS";
    match std::env::var(variable) {
        Ok(command) => Some(command),
        Err(_)
            if std::env::var("POOL_TEST_REAL_SERVERS").is_ok_and(|value| value == "required") =>
        {
            panic!("{variable} is not set")
        }
        Err(_) => {
            eprintln!("skipped: {variable} is not set");
            None
        }
    }
}

/// A server in each of the states that look different: well, with its breaker open, unable to start, switched off.
async fn manager() -> ConnectionManager {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let command = mcp_testkit::binary();
    let servers = json!({ "mcpServers": {
        "off": { "command": "nothing", "disabled": true },
        "well": { "command": command },
        "a name / with ünusual ?characters": { "command": command },
    } });
    std::fs::write(&file, servers.to_string()).unwrap();
    let quick = PoolSettings::new()
        .min_connections(0)
        .retry_attempts(0)
        .connection_timeout(Duration::from_secs(2));
    let breaker = CircuitBreakerSettings::new()
        .failure_threshold(1)
        .recovery_timeout(Duration::from_secs(600));
    let manager = ConnectionManager::builder()
        .file(&file)
        .server("broken", process(&["--exit", "3"]))
        .server(
            "cut-off",
            process(&[]).pool(
                PoolSettings::new()
                    .call_timeout(Duration::from_secs(1))
                    .circuit_breaker(breaker),
            ),
        )
        .defaults(quick)
        .build()
        .await
        .unwrap();
    let arguments = json!({ "ms": 60_000 }).as_object().cloned().unwrap();
    let hang = CallToolRequestParams::new("sleep").with_arguments(arguments);
    let options = CallOptions::new().timeout(Duration::from_secs(10));
    let tools = |server| manager.tools(server).unwrap();
    tools("cut-off")
        .call_tool_with(hang, options)
        .await
        .unwrap_err();
    tools("broken").list_all_tools().await.unwrap_err();
    let echo = json!({ "message": "m" });
    tools("well").call("echo", echo).await.unwrap();
    manager
}

async fn check(with: impl FnOnce(Admin) -> Admin, arguments: &[&str]) {
    let Some(schemathesis) = schemathesis() else {
        return;
    };
    let served = Served::start(manager().await, with).await;
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(schemathesis)
        .current_dir(&folder)
        .args(["run", &served.url("/api/v1/openapi.json"), "--no-color"])
        // A stream has no end: it has tests of its own.
        .args(["--exclude-path", "/api/v1/mcp/events"])
        .args(["--checks", "all", "--max-examples", "60", "--seed", "1"])
        .args(["--request-timeout", "60", "--suppress-health-check", "all"])
        .args(arguments)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Tested: 16"), "{said}");
    served.end().await;
}

#[tokio::test]
async fn what_is_open_answers_as_the_document_says() {
    check(|admin| admin, &[]).await;
}

#[tokio::test]
async fn what_needs_a_token_answers_as_the_document_says() {
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let closed = |admin: Admin| admin.token(token()).open_reads(false);
    check(closed, &["--header", &bearer]).await;
}

/// The schemas that a schema refers to, here or elsewhere in the document, are there.
#[tokio::test]
async fn nothing_that_the_document_refers_to_is_missing() {
    let served = Served::start(manager().await, |admin| admin).await;
    let (_, document) = served.get("/api/v1/openapi.json").await;
    let mut open = vec![&document];
    let mut references = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    references += 1;
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(references > 20, "{references}");
    // Open routes are documented as open, so that no token is requested for them.
    let reset = &document["paths"]["/api/v1/mcp/pools/{server}/reset"]["post"];
    assert_eq!(reset.get("security"), None);
    let other = Served::start(manager().await, |admin| admin.token(token())).await;
    let (_, document) = other.get("/api/v1/openapi.json").await;
    let paths = &document["paths"];
    let reset = &paths["/api/v1/mcp/pools/{server}/reset"]["post"];
    assert_eq!(reset["security"], json!([{ "token": [] }]));
    assert_eq!(paths["/api/v1/mcp/pools"]["get"].get("security"), None);
    let request = other.request(Method::GET, "/api/v1/openapi.json");
    assert!(request.send().await.unwrap().status().is_success());
    served.end().await;
    other.end().await;
}
