//! Something to look at: four servers under load, one of which fails every few seconds, with the status API, Prometheus'
//! endpoint and the dashboard.
//!
//! ```console
//! $ cargo run --example status_server --features admin
//! $ open http://127.0.0.1:9888/
//! $ curl http://127.0.0.1:9888/api/v1/mcp/status
//! ```
//!
//! `MCP_POOL_ADMIN_ADDRESS` has it listen elsewhere, and `MCP_POOL_ADMIN_TOKEN` is then what callers must bear.

use std::{env, process::ExitCode, time::Duration};

use mcp_admin::{Admin, Token};
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, PooledTools, ServerConfig, config::CircuitBreakerSettings,
};
use rmcp::model::CallToolRequestParams;
use serde_json::json;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};

fn main() -> ExitCode {
    if mcp_testkit::is_server_invocation() {
        return mcp_testkit::main();
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    let manager = ConnectionManager::builder()
        .server("calm", server(&[])?)
        .server("busy", server(&[])?.pool(one_call_a_session()))
        .server("crashing", server(&["--exit-after-calls", "40"])?)
        .server("flaky", server(&[])?.pool(quick_breaker()))
        .on_alert(|change| println!("{}", change.alert().message))
        .build()
        .await?;

    let mut admin = Admin::new(manager.clone());
    if let Ok(address) = env::var("MCP_POOL_ADMIN_ADDRESS") {
        admin = admin.address(address);
    }
    if let Ok(token) = env::var("MCP_POOL_ADMIN_TOKEN") {
        admin = admin.token(Token::new(token)?);
    }
    let admin = admin.bind().await?;
    println!("http://{}/", admin.local_addr());

    let mut callers = JoinSet::new();
    callers.spawn(calls(manager.tools("calm")?, Duration::from_millis(50), 5));
    callers.spawn(calls(
        manager.tools("crashing")?,
        Duration::from_millis(100),
        5,
    ));
    for _ in 0..4 {
        callers.spawn(calls(
            manager.tools("busy")?,
            Duration::from_millis(20),
            150,
        ));
    }
    callers.spawn(calls(
        manager.tools("flaky")?,
        Duration::from_millis(200),
        10,
    ));
    callers.spawn(faults(manager.tools("flaky")?));

    admin.serve(end()).await;
    Ok(())
}

/// Waits for ctrl-c or a signal to end.
async fn end() {
    let asked = async {
        #[cfg(unix)]
        if let Ok(mut asked) = signal(SignalKind::terminate()) {
            asked.recv().await;
            return;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => {}
        () = asked => {}
    }
}

/// This program itself, as a server with such faults.
fn server(faults: &[&str]) -> anyhow::Result<ServerConfig> {
    let itself = env::current_exe()?.to_string_lossy().into_owned();
    Ok(ServerConfig::stdio(itself)
        .arg("--mcp-testkit-server")
        .args(faults.iter().copied()))
}

fn one_call_a_session() -> PoolSettings {
    PoolSettings::new().max_in_flight(1).max_connections(3)
}

fn quick_breaker() -> PoolSettings {
    let breaker = CircuitBreakerSettings::new()
        .failure_threshold(3)
        .recovery_timeout(Duration::from_secs(4));
    PoolSettings::new()
        .call_timeout(Duration::from_secs(2))
        .circuit_breaker(breaker)
}

/// Calls that take a while, one after the other. What becomes of them is for the dashboard to say.
async fn calls(tools: PooledTools, pause: Duration, takes_ms: u64) {
    let mut pauses = interval(pause);
    loop {
        pauses.tick().await;
        let _ = tools.call("sleep", json!({ "ms": takes_ms })).await;
    }
}

/// Every few seconds, as many calls as open the breaker that are not answered within `call_timeout`: all at once, so that
/// no answer comes between.
async fn faults(tools: PooledTools) {
    let unanswered = async || {
        let arguments = json!({ "ms": 60_000 }).as_object().cloned();
        let hang =
            CallToolRequestParams::new("sleep").with_arguments(arguments.unwrap_or_default());
        let _ = tools.call_tool(hang).await;
    };
    loop {
        sleep(Duration::from_secs(12)).await;
        tokio::join!(unanswered(), unanswered(), unanswered());
    }
}
