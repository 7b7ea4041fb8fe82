//! The pool alone, without the facade: no configuration, no names, a server in the same process.
//!
//! ```console
//! $ cargo run --example a_la_carte
//! ```

use std::time::Duration;

use mcp_pool_core::{PoolOptions, SessionPool, connect::in_process::InProcess};
use mcp_testkit::TestServer;
use rmcp::model::CallToolRequestParams;
use serde_json::json;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = TestServer::new();
    let mut options = PoolOptions::default();
    options.max_connections = 3;
    options.connection_timeout = Duration::from_secs(5);
    let sessions = server.clone();
    let pool = SessionPool::builder("in process", InProcess::new(move || sessions.clone()))
        .options(options)
        .build()?;

    // A lease is a place on a session that others may share; it derefs to rmcp's client.
    let lease = pool.acquire().await?;
    let arguments = json!({ "message": "hello" })
        .as_object()
        .cloned()
        .unwrap_or_default();
    let params = CallToolRequestParams::new("echo").with_arguments(arguments);
    let answer = lease.call_tool(params.clone()).await?;
    println!("session {} answered: {:?}", lease.id(), answer.content);
    drop(lease);

    // A pinned session is for one caller alone, for as long as it is held.
    let pinned = pool.pin().await?;
    pinned.call_tool(params).await?;
    println!("session {}; calls so far: {}", pinned.id(), server.calls());
    drop(pinned);

    pool.close().await;
    let status = pool.status();
    println!("opened {}, closed {:?}", status.opened, status.closed);
    Ok(())
}
