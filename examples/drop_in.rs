//! The drop-in: code written once, run over rmcp's plain client and over a pool.
//!
//! ```console
//! $ cargo run --example drop_in
//! ```
//!
//! Concrete code needs even less: `PooledTools` has the methods of the plain client, by the same names, so that only
//! the line that makes it changes. Code that is to take either takes `dyn Tools`.

use std::process::ExitCode;

use anyhow::Context;
use mcp_pooled_tools::{ConnectionManager, ServerConfig, Tools};
use rmcp::{
    ServiceExt,
    model::{CallToolRequestParams, CallToolResult},
    transport::TokioChildProcess,
};
use serde_json::json;
use tokio::process::Command;

/// What an agent or a service does with tools. It does not know what is beneath.
async fn greet(tools: &dyn Tools, whom: &str) -> anyhow::Result<CallToolResult> {
    let known = tools.list_all_tools().await?;
    anyhow::ensure!(
        known.iter().any(|tool| tool.name == "echo"),
        "the server cannot echo"
    );
    let arguments = json!({ "message": format!("hello, {whom}") });
    let arguments = arguments.as_object().cloned().context("it is an object")?;
    let params = CallToolRequestParams::new("echo").with_arguments(arguments);
    Ok(tools.call_tool(params).await?)
}

async fn run() -> anyhow::Result<()> {
    let server = std::env::current_exe()?;

    // The plain client: one session, made and kept by hand.
    let mut command = Command::new(&server);
    command.arg(SERVER);
    let plain = ().serve(TokioChildProcess::new(command)?).await?;
    println!("plain:  {:?}", text(&greet(&plain, "world").await?));
    plain.cancel().await?;

    // The pool: sessions are opened as they are needed, shared, watched and closed.
    let manager = ConnectionManager::builder()
        .server(
            "greeter",
            ServerConfig::stdio(server.to_string_lossy()).arg(SERVER),
        )
        .build()
        .await?;
    let pooled = manager.tools("greeter")?;
    println!("pooled: {:?}", text(&greet(&pooled, "world").await?));
    manager.shutdown().await;
    Ok(())
}

fn text(result: &CallToolResult) -> &str {
    let first = result.content.first();
    first
        .and_then(|content| content.as_text())
        .map_or("", |text| &text.text)
}

/// This program is its own server.
const SERVER: &str = "--mcp-testkit-server";

fn main() -> anyhow::Result<ExitCode> {
    if mcp_testkit::is_server_invocation() {
        return Ok(mcp_testkit::main());
    }
    tokio::runtime::Runtime::new()?.block_on(run())?;
    Ok(ExitCode::SUCCESS)
}
