//! The switches for debugging: variables of the environment that lie above everything.

use crate::common;
use common::LONG;
use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, PoolSettings, PooledTools, ServerConfig,
    config::{Loader, Origin},
};
use mcp_testkit::process as processes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

async fn manager(switch: Option<&str>, loader: Loader) -> ConnectionManager {
    let loader = loader.environment(switch.map(|name| (name, "1")));
    ConnectionManager::from_loader(loader).await.unwrap()
}

fn origin(manager: &ConnectionManager, setting: &str) -> Origin {
    let settings = manager.settings("a").unwrap().settings;
    let found = settings.into_iter().find(|found| found.setting == setting);
    found.unwrap().origin
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_single_connection_calls_go_one_by_one_over_one_session() {
    let marker = format!("single-{}", std::process::id());
    let server = common::process(&["--marker", &marker, "--forbid-overlap"])
        .pool(PoolSettings::new().min_connections(3).max_connections(9));
    let manager = manager(
        Some("MCP_SINGLE_CONNECTION"),
        Loader::new().server("a", server),
    )
    .await;
    let tools = manager.tools("a").unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let tools = tools.clone();
        callers.spawn(async move { tools.call("sleep", json!({ "ms": 5 })).await });
    }
    while let Some(answer) = callers.join_next().await {
        let answer = answer.unwrap().unwrap();
        assert_ne!(answer.is_error, Some(true), "calls overlapped: {answer:?}");
    }
    assert_eq!(processes::by_marker(&marker).len(), 1);
    assert_eq!(
        origin(&manager, "max_connections"),
        Origin::Variable("MCP_SINGLE_CONNECTION".into())
    );
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_health_checks_disabled_no_idle_session_is_probed() {
    let server = || {
        let often = PoolSettings::new()
            .max_connections(1)
            .health_check_interval(std::time::Duration::from_millis(60));
        let legacy = common::process(&["--era", "legacy"]);
        Loader::new().server("a", legacy.pool(often))
    };
    let probed = manager(None, server()).await;
    let unprobed = manager(Some("MCP_DISABLE_HEALTH_CHECKS"), server()).await;
    let unprobed_tools = unprobed.tools("a").unwrap();
    common::echo(&unprobed_tools, "open").await;
    let probed_tools = probed.tools("a").unwrap();
    // Long enough for the other to have been probed three times.
    common::echo(&probed_tools, "open").await;
    while pings(&probed_tools).await < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(pings(&unprobed_tools).await, 0);
    assert_eq!(
        origin(&unprobed, "health_check_interval"),
        Origin::Variable("MCP_DISABLE_HEALTH_CHECKS".into())
    );
    probed.shutdown().await;
    unprobed.shutdown().await;
}

async fn pings(tools: &PooledTools) -> u64 {
    let stats = tools.call("stats", json!({})).await.unwrap();
    let requests = &stats.structured_content.unwrap()["requests"];
    requests["ping"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_mocks_enabled_every_server_is_replaced_whatever_it_lacks() {
    let marker = format!("mocked-{}", std::process::id());
    let file = json!({ "mcpServers": {
        "lacks": { "url": "https://mcp.invalid/mcp", "headers": { "Authorization": "Bearer ${NOT_SET}" } },
        "off": { "command": "x", "disabled": true },
    }});
    let loader = Loader::new()
        .text(".mcp.json", file.to_string())
        .server("a", common::process(&["--marker", &marker]));
    let manager = manager(Some("MCP_ENABLE_MOCKS"), loader).await;
    for name in ["a", "lacks"] {
        let tools = manager.tools(name).unwrap();
        let listed = tools.list_all_tools().await.unwrap();
        assert_eq!(listed[0].name, "echo");
        let answer = tools.call("anything", json!({ "x": 1 })).await.unwrap();
        let expected: Value = json!({ "mock": name, "tool": "anything", "arguments": { "x": 1 } });
        assert_eq!(answer.structured_content, Some(expected));
    }
    assert!(processes::by_marker(&marker).is_empty());
    assert_eq!(manager.status().servers[0].transport, "mock");
    assert_eq!(
        manager.tools("off").unwrap_err().kind(),
        ErrorKind::Config,
        "what is switched off stays off"
    );
    // A server that comes later is replaced, too.
    let mut later = Loader::new().environment([("MCP_ENABLE_MOCKS", "1")]);
    later = later.server("later", ServerConfig::stdio("no-such-program"));
    manager.reload(later.load().unwrap()).unwrap();
    let answer = manager.tools("later").unwrap().call("t", json!({})).await;
    assert_eq!(answer.unwrap().structured_content.unwrap()["mock"], "later");
    manager.shutdown().await;
    assert!(processes::wait_until(LONG, || manager.status().connections == 0).await);
}
