//! Problems and notes of a configuration are logged, also for unused servers.

use crate::common::log;
use log::Log;
use mcp_pooled_tools::{ConnectionManager, config::Loader};
use tracing::Level;

fn loader(variable: &str) -> Loader {
    let servers =
        r#"{ "mcpServers": { "a": { "command": "x" }, "b": { "command": "${NO_SUCH}" } } }"#;
    Loader::new()
        .environment([(variable, "1")])
        .text(".mcp.json", servers)
}

#[tokio::test]
async fn what_is_ignored_and_what_is_disabled_is_told_once_at_the_start_and_at_a_reload() {
    let log = Log::begin();
    let first = loader("MCP_SERVER_A_B_MAX_WAITERS");
    let manager = ConnectionManager::from_loader(first).await.unwrap();
    let ignored = log.with("MCP_SERVER_A_B_MAX_WAITERS: no server has the name");
    let disabled = log.with("mcpServers.b.command: variable NO_SUCH is not set");
    assert_eq!((ignored.len(), disabled.len()), (1, 1));
    assert_eq!(ignored[0].level, Level::WARN);
    assert_eq!(disabled[0].level, Level::WARN);

    let second = loader("MCP_SERVER_C_MAX_WAITERS").load().unwrap();
    manager.reload(second).unwrap();
    assert_eq!(log.with("MCP_SERVER_C_MAX_WAITERS: no server").len(), 1);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_field_of_another_client_is_noted_once_and_not_again_at_every_reload() {
    let log = Log::begin();
    let load = |size: u32| {
        let text = format!(
            r#"{{ "mcpServers": {{ "a": {{ "command": "x", "autoApprove": ["echo"], "pool": {{ "max_waiters": {size} }} }} }} }}"#
        );
        Loader::new().text(".mcp.json", text)
    };
    let manager = ConnectionManager::from_loader(load(1)).await.unwrap();
    for size in 2..5 {
        manager.reload(load(size).load().unwrap()).unwrap();
    }
    assert_eq!(log.with("a.autoApprove: ignored").len(), 1);
    // Gone and back, it is news.
    let without = Loader::new().text(".mcp.json", r#"{ "a": { "command": "x" } }"#);
    manager.reload(without.load().unwrap()).unwrap();
    manager.reload(load(5).load().unwrap()).unwrap();
    assert_eq!(log.with("a.autoApprove: ignored").len(), 2);
    manager.shutdown().await;
}
