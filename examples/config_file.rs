//! Servers from an `.mcp.json`, as other clients have it, with settings for the pool beside them.
//!
//! ```console
//! $ cargo run --example config_file
//! ```

use std::process::ExitCode;

use anyhow::Context;
use mcp_pooled_tools::ConnectionManager;
use serde_json::json;

async fn run() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join(".mcp.json");
    let configuration = json!({
        "mcpServers": {
            "notes": {
                "command": std::env::current_exe()?,
                "args": ["--mcp-testkit-server", "--name", "${SERVER_NAME:-notes}"],
                "pool": { "max_connections": 4, "call_timeout": "5s" },
            },
            // What is wrong with one server costs that server only.
            "broken": { "command": "${NOBODY_HAS_SET_THIS}/server" },
        },
    });
    std::fs::write(&file, serde_json::to_vec_pretty(&configuration)?)?;

    let manager = ConnectionManager::from_file(&file).await?;
    println!("servers: {}", manager.servers().join(", "));
    if let Err(error) = manager.tools("broken") {
        println!("{error}");
    }

    let notes = manager.tools("notes")?;
    let answer = notes.call("add", json!({ "a": 2, "b": 3 })).await?;
    let sum = &answer.structured_content.unwrap_or_default()["sum"];
    println!("2 + 3 = {}", sum.as_f64().context("it is a number")?);

    let status = manager.pool_status("notes")?;
    println!(
        "{} of at most {} sessions opened",
        status.opened, status.connections.max
    );
    manager.shutdown().await;
    Ok(())
}

fn main() -> anyhow::Result<ExitCode> {
    // This program is its own server.
    if mcp_testkit::is_server_invocation() {
        return Ok(mcp_testkit::main());
    }
    tokio::runtime::Runtime::new()?.block_on(run())?;
    Ok(ExitCode::SUCCESS)
}
