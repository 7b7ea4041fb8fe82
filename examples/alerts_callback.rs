//! Alerts by callback for a server that stops answering, each raised once and resolved once.
//!
//! ```console
//! $ cargo run --example alerts_callback
//! ```

use std::{process::ExitCode, sync::mpsc, time::Duration};

use mcp_pooled_tools::{
    AlertEvent, AlertRules, ConnectionManager, PoolSettings, ServerConfig,
    config::CircuitBreakerSettings,
};
use rmcp::model::CallToolRequestParams;
use serde_json::json;

fn main() -> ExitCode {
    if mcp_testkit::is_server_invocation() {
        return mcp_testkit::main();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    // This program itself is the server.
    let itself = std::env::current_exe()?.to_string_lossy().into_owned();
    let server = ServerConfig::stdio(itself).arg("--mcp-testkit-server");
    let breaker = CircuitBreakerSettings::new()
        .failure_threshold(3)
        .recovery_timeout(Duration::from_secs(1));
    let mut rules = AlertRules::default();
    // How long a condition must be gone before its alert is: short, so that there is something to see.
    rules.resolve_after = Duration::from_secs(3);

    // The callback is called on a runtime thread and must not block: it sends the change on.
    let (sender, changes) = mpsc::channel();
    let manager = ConnectionManager::builder()
        .server(
            "test",
            server.pool(
                PoolSettings::new()
                    .call_timeout(Duration::from_secs(1))
                    .circuit_breaker(breaker),
            ),
        )
        .alert_rules(rules)
        .on_alert(move |change| {
            // The receiver may have gone.
            let _ = sender.send(change.clone());
        })
        .build()
        .await?;
    let tools = manager.tools("test")?;

    println!("three calls that are not answered in time:");
    for _ in 0..3 {
        let arguments = json!({ "ms": 60_000 })
            .as_object()
            .cloned()
            .unwrap_or_default();
        let hang = CallToolRequestParams::new("sleep").with_arguments(arguments);
        if let Err(error) = tools.call_tool(hang).await {
            println!("  {error}");
        }
    }
    // Alerts are looked for every five seconds. Meanwhile the breaker lets a call through again, and closes.
    let mut calls = tokio::time::interval(Duration::from_millis(500));
    loop {
        calls.tick().await;
        // Only after the change: the cause that opened the breaker is shown first.
        let change = changes.try_recv();
        match &change {
            Ok(AlertEvent::Raised(alert)) => {
                println!("raised:   {} ({})", alert.message, alert.kind);
            }
            Ok(AlertEvent::Escalated(alert)) => println!("worse:    {}", alert.message),
            Ok(AlertEvent::Resolved(alert)) => {
                println!("resolved: {}", alert.kind);
                break;
            }
            _ => {}
        }
        if !manager.alerts().is_empty() {
            // The server answers again; the first ones that are let through close the breaker.
            let _ = tools.call("echo", json!({ "message": "hello" })).await;
        }
    }
    manager.shutdown().await;
    Ok(())
}
