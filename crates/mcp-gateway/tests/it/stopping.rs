//! The time between the signal to end and the end.

use std::time::Duration;

use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, Sharing, core::connect::in_process::InProcess,
};
use mcp_testkit::TestServer;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::common::{LONG, Served, raw::Legacy};

#[tokio::test]
async fn a_gateway_that_ends_is_not_ready_and_begins_no_pinned_session() {
    let connector = || InProcess::new(TestServer::new);
    let settings = |sharing| {
        let settings = PoolSettings::new().retry_attempts(0).min_connections(0);
        settings.sharing(sharing)
    };
    let manager = ConnectionManager::builder()
        .connector("own", connector(), settings(Sharing::Pinned))
        .connector("shared", connector(), settings(Sharing::Multiplexed))
        .build()
        .await
        .unwrap();
    let gateway = Gateway::builder(manager)
        .admin(|admin| admin)
        .drain_delay(Duration::from_secs(3));
    let mut served = Served::start(gateway).await;
    let before = Legacy::open(&served.url(), json!({})).await;
    let late = Legacy::open(&served.url(), json!({})).await;
    let call = async |client: &Legacy, id: u64, tool: &str| -> Value {
        let called = client.call(id, tool, json!({"message": "a"})).await;
        called.json().await.unwrap()
    };
    assert!(call(&before, 1, "own__echo").await["result"].is_object());

    served.end();
    let ready = format!("http://{}/readyz", served.address);
    let not_ready = async {
        while reqwest::get(&ready).await.unwrap().status() != 503 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, not_ready).await.unwrap();
    let refused = call(&late, 1, "own__echo").await;
    assert_eq!(refused["error"]["data"]["phase"], "shutdown", "{refused}");
    assert!(call(&late, 2, "shared__echo").await["result"].is_object());
    assert!(call(&before, 2, "own__echo").await["result"].is_object());
    served.stop().await;
}
