//! Partial lists of five servers, with real processes and a socket.

use mcp_pooled_tools::{AggregatorSettings, ConnectionManager, PoolSettings, ServerConfig};
use mcp_testkit::{HttpOptions, HttpServer};
use serde_json::json;
use std::time::Duration;

use crate::{
    aggregator_missing::assert_four_missing,
    common::{process, text},
};

#[tokio::test]
async fn pain_12_one_dead_one_hanging_one_401_and_one_looping_leave_the_fifth_in_place() {
    let refusing = HttpServer::start(HttpOptions {
        status: Some(401),
        ..HttpOptions::default()
    })
    .await;
    let manager = ConnectionManager::builder()
        .server("dead", process(&["--exit", "3", "--stderr", "no database"]))
        .server("good", process(&[]))
        .server("hanging", process(&["--hang-before-handshake"]))
        .server("looping", process(&["--looping-pages"]))
        .server("refusing", ServerConfig::http(refusing.url()))
        .defaults(PoolSettings::new().retry_attempts(0).min_connections(0))
        .aggregator(AggregatorSettings::new().list_timeout(Duration::from_secs(15)))
        .build()
        .await
        .unwrap();
    let all = manager.aggregator();
    let tools = all.list_all_tools().await.unwrap();
    assert_four_missing(&tools);
    assert!(
        tools.missing[0].to_string().contains("no database"),
        "{}",
        tools.missing[0]
    );
    let said = all
        .call("good__echo", json!({ "message": "still here" }))
        .await
        .unwrap();
    assert_eq!(text(&said), "still here");
    let said = all
        .call("looping__echo", json!({ "message": "here, too" }))
        .await
        .unwrap();
    assert_eq!(text(&said), "here, too");
    manager.shutdown().await;
}
