//! Many servers as one client: names that never clash, filters, and a list that comes although one server does not start.
//!
//! ```console
//! $ cargo run --example aggregator
//! ```

use std::process::ExitCode;

use mcp_pooled_tools::ConnectionManager;
use serde_json::json;

async fn run() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join(".mcp.json");
    let program = std::env::current_exe()?;
    let configuration = json!({
        "mcpServers": {
            "notes": {
                "command": program,
                "args": ["--mcp-testkit-server"],
                "aggregator": { "allow": ["echo", "add"], "aliases": { "echo": "say" } },
            },
            "sums": {
                "command": program,
                "args": ["--mcp-testkit-server"],
                "aggregator": { "allow": ["add"] },
            },
            "broken": { "command": "no-such-program" },
        },
    });
    std::fs::write(&file, serde_json::to_vec_pretty(&configuration)?)?;

    let manager = ConnectionManager::from_file(&file).await?;
    let all = manager.aggregator();
    let tools = all.list_all_tools().await?;
    for tool in &tools {
        println!("{}", tool.name);
    }
    for missing in &tools.missing {
        println!("missing: {missing}");
    }
    let sum = all.call("sums__add", json!({ "a": 2, "b": 3 })).await?;
    println!(
        "2 + 3 = {}",
        sum.structured_content.unwrap_or_default()["sum"]
    );

    // What takes an rmcp peer takes this.
    let peer = all.serve_in_process().await?;
    println!("{} tools over rmcp", peer.list_all_tools().await?.len());
    peer.cancel().await?;
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
