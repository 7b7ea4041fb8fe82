//! Many callers at once, on real processes.

use crate::common;
use std::collections::HashSet;

use common::{manager, process, whoami};
use mcp_pooled_tools::PoolSettings;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_20_a_hundred_callers_at_an_empty_pool_do_not_start_a_hundred_processes() {
    let manager = manager(process(&["--slow-start", "100"]), PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let tools = tools.clone();
        calls.spawn(async move {
            whoami(&tools.call("whoami", json!({})).await.unwrap())["pid"].as_u64()
        });
    }
    let answers = calls.join_all().await;
    assert_eq!(answers.len(), 100);
    let served_by: HashSet<_> = answers.into_iter().collect();
    let status = manager.pool_status("test").unwrap();
    assert!(
        served_by.len() <= 10 && status.opened <= 10,
        "{} {status:?}",
        served_by.len()
    );
    assert!(status.connections.total <= status.connections.max);
    manager.shutdown().await;
}
