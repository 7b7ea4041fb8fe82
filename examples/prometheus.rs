//! Calls, and what Prometheus reads of them: once on stdout, and then at an address for as long as the program runs.
//!
//! ```console
//! $ cargo run --example prometheus                 # prints the numbers once
//! $ cargo run --example prometheus -- 127.0.0.1:0  # and goes on serving them at /metrics
//! ```
//!
//! A program that serves HTTP already answers with `manager.prometheus()`, or mounts the crate `mcp-admin`.

use std::{env, process::ExitCode};

use mcp_metrics::{Prometheus, PrometheusListener};
use mcp_pooled_tools::{ConnectionManager, ServerConfig};
use serde_json::json;

fn main() -> ExitCode {
    if mcp_testkit::is_server_invocation() {
        return mcp_testkit::main();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    match runtime.block_on(run(env::args().nth(1))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(address: Option<String>) -> anyhow::Result<()> {
    // This program itself is the server.
    let itself = env::current_exe()?.to_string_lossy().into_owned();
    let manager = ConnectionManager::builder()
        .server(
            "test",
            ServerConfig::stdio(itself).arg("--mcp-testkit-server"),
        )
        .build()
        .await?;
    let tools = manager.tools("test")?;
    for number in 0..20 {
        tools
            .call("echo", json!({ "message": format!("call {number}") }))
            .await?;
    }
    print!("{}", manager.prometheus());

    if let Some(address) = address {
        let prometheus = Prometheus::new(manager.metrics().clone());
        let listener = PrometheusListener::bind(address, prometheus).await?;
        println!("http://{}/metrics", listener.local_addr()?);
        tokio::select! {
            () = listener.serve() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    manager.shutdown().await;
    Ok(())
}
