//! A server that others wrote, over streamable HTTP: server-everything, on the TypeScript SDK.
//!
//! `.ci/run` installs it and names it in a variable. Where that is not set the test passes without having looked, and says
//! so; with `POOL_TEST_REAL_SERVERS=required` it fails instead.

use crate::common;
use crate::common::caller;
use std::{net::TcpListener, process::Stdio, time::Duration};

use caller::Caller;
use common::{LONG, manager, text};
use mcp_pooled_tools::{CallOptions, PoolSettings, PooledTools, ServerConfig};
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// The server on a port; it ends with the test.
async fn everything(port: u16) -> Option<Child> {
    let required = std::env::var("POOL_TEST_REAL_SERVERS").is_ok_and(|is| is == "required");
    let Ok(command) = std::env::var("POOL_TEST_EVERYTHING") else {
        assert!(!required, "POOL_TEST_EVERYTHING is not set");
        eprintln!("skipped: POOL_TEST_EVERYTHING is not set");
        return None;
    };
    let mut words = command.split_whitespace();
    let server = Command::new(words.next().expect("a command"))
        .args(words)
        .arg("streamableHttp")
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let listens = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, listens).await.expect("it listens");
    Some(server)
}

async fn ask(tools: &PooledTools, tool: &'static str, arguments: Value) -> String {
    let params =
        CallToolRequestParams::new(tool).with_arguments(arguments.as_object().cloned().unwrap());
    let options = CallOptions::new().handler(Caller {
        name: "alice",
        thinks: Duration::ZERO,
    });
    text(&tools.call_tool_with(params, options).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_everything_over_http_serves_asks_and_is_met_again_after_a_restart() {
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let Some(mut server) = everything(port).await else {
        return;
    };
    let config = ServerConfig::http(format!("http://127.0.0.1:{port}/mcp"));
    let settings = PoolSettings::new().min_connections(0);
    let manager = manager(config, settings).await;
    let tools = manager.tools("test").unwrap();
    for _ in 0..10 {
        let sampled = ask(
            &tools,
            "trigger-sampling-request",
            json!({"prompt": "hello"}),
        )
        .await;
        assert!(sampled.contains("alice"), "{sampled}");
        let elicited = ask(&tools, "trigger-elicitation-request", json!({})).await;
        assert!(elicited.contains("alice"), "{elicited}");
    }
    let echo = async || {
        text(
            &tools
                .call("echo", json!({"message": "hello"}))
                .await
                .unwrap(),
        )
    };
    assert_eq!(echo().await, "Echo: hello");

    // What it knew of sessions is gone, and it says so by 400.
    server.kill().await.unwrap();
    let _server = everything(port).await;
    assert_eq!(echo().await, "Echo: hello");
    manager.shutdown().await;
}
