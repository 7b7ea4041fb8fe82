//! Programs that others wrote as clients: the Inspector's command line, and mcp-remote.

use mcp_gateway::Gateway;
use mcp_pooled_tools::{ConnectionManager, PoolSettings, ServerConfig};
use mcp_testkit::TestServer;
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::{
    common::{MINUTE, Served, manager},
    sdk::installed,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_inspector_lists_and_calls() {
    let Some(folder) = installed("inspector") else {
        return;
    };
    let served = Served::start(Gateway::builder(manager(&TestServer::new()).await)).await;
    let url = served.url();
    let inspect = async |arguments: &[&str]| -> Value {
        let mut command = Command::new("node");
        command
            .arg(folder.join("node_modules/.bin/mcp-inspector"))
            .args(["--cli", &url, "--transport", "http"])
            .args(arguments)
            .kill_on_drop(true);
        let output = timeout(MINUTE, command.output()).await.unwrap().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("{error}: {}{said}", String::from_utf8_lossy(&output.stdout))
        })
    };
    let listed = inspect(&["--method", "tools/list"]).await;
    let tools = listed["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "test__echo"));
    let called = [
        "--method",
        "tools/call",
        "--tool-name",
        "test__echo",
        "--tool-arg",
        "message=inspected",
    ];
    let called = inspect(&called).await;
    assert_eq!(called["content"][0]["text"], "inspected", "{called}");
    let read = ["--method", "resources/list"];
    let read = inspect(&read).await;
    assert_eq!(read["resources"][0]["uri"], "testkit://readme", "{read}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_stdio_alone_is_served_through_mcp_remote() {
    let Some(folder) = installed("mcp-remote") else {
        return;
    };
    let served = Served::start(Gateway::builder(manager(&TestServer::new()).await)).await;
    let bridge = folder.join("node_modules/mcp-remote/dist/proxy.js");
    let bridge = ServerConfig::stdio("node").args([
        bridge.to_string_lossy().into_owned(),
        served.url(),
        "--allow-http".to_owned(),
        "--transport".to_owned(),
        "http-only".to_owned(),
    ]);
    let outer = ConnectionManager::builder()
        .server("bridge", bridge)
        .defaults(PoolSettings::new().min_connections(0))
        .build()
        .await
        .unwrap();
    let tools = outer.tools("bridge").unwrap();
    let named = tools.list_all_tools().await.unwrap();
    assert!(named.iter().any(|tool| tool.name == "test__echo"));
    let called = tools
        .call("test__echo", json!({ "message": "bridged" }))
        .await
        .unwrap();
    assert_eq!(json!(called.content)[0]["text"], "bridged");
    outer.shutdown().await;
    served.stop().await;
}
