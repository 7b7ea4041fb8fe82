//! What is open before the first call, and what is said if it does not open.

use crate::common;
use common::{LONG, process};
use mcp_pooled_tools::{
    ConnectionManager, Error, ErrorKind, PoolSettings, ServerConfig, config::Initialization,
};
use mcp_testkit::process as processes;

/// A manager of a server that starts, and of another.
async fn beside(
    other: ServerConfig,
    marker: &str,
    initialization: Initialization,
) -> Result<ConnectionManager, Error> {
    let settings = PoolSettings::new()
        .initialization(initialization)
        .min_connections(2)
        .retry_attempts(0);
    ConnectionManager::builder()
        .server("good", process(&["--marker", marker]))
        .server("other", other)
        .defaults(settings)
        .build()
        .await
}

fn missing() -> ServerConfig {
    ServerConfig::stdio("no-such-command-anywhere")
}

fn marker(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_nothing_is_started_before_it_is_used() {
    let marker = marker("lazy");
    let manager = beside(missing(), &marker, Initialization::default())
        .await
        .unwrap();
    let _unused = manager.tools("good").unwrap();
    assert!(processes::by_marker(&marker).is_empty());
    assert_eq!(manager.status().connections, 0);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eager_pools_fill_up_by_themselves_whatever_becomes_of_others() {
    let marker = marker("eager");
    let manager = beside(missing(), &marker, Initialization::Eager)
        .await
        .unwrap();
    let idle = || manager.pool_status("good").unwrap().connections.idle;
    assert!(processes::wait_until(LONG, || idle() == 2).await);
    assert_eq!(processes::by_marker(&marker).len(), 2);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fail_fast_tells_of_a_server_that_does_not_start_and_leaves_none_that_did() {
    let marker = marker("fail-fast");
    let error = beside(missing(), &marker, Initialization::FailFast)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert_eq!(error.server(), Some("other"));
    assert!(error.to_string().contains("command not found"), "{error}");
    assert!(processes::by_marker(&marker).is_empty());

    let manager = beside(process(&[]), &marker, Initialization::FailFast)
        .await
        .unwrap();
    for server in ["good", "other"] {
        let open = manager.pool_status(server).unwrap().opened;
        assert!(open >= 1, "{server}");
    }
    manager.shutdown().await;
}
