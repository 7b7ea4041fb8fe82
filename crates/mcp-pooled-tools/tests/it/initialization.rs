//! Sessions that are opened before the first call, and the errors when they fail.

use crate::common;
use std::collections::HashSet;

use common::{LONG, process, whoami};
use mcp_pooled_tools::{
    ConnectionManager, Error, ErrorKind, PoolSettings, ServerConfig, Sharing,
    config::Initialization,
};
use mcp_testkit::process as processes;
use serde_json::json;
use tokio::sync::Barrier;

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
async fn what_an_eager_pool_has_opened_serves_its_first_callers_and_is_kept() {
    let marker = marker("eager-first");
    let started = || processes::by_marker(&marker);
    let settings = PoolSettings::new()
        .initialization(Initialization::Eager)
        .sharing(Sharing::Exclusive)
        .min_connections(2);
    let manager = ConnectionManager::builder()
        .server("test", process(&["--marker", &marker]))
        .defaults(settings)
        .build()
        .await
        .unwrap();
    let idle = || manager.pool_status("test").unwrap().connections.idle;
    assert!(processes::wait_until(LONG, || idle() == 2).await);
    let eager: HashSet<_> = started().into_iter().collect();

    let tools = manager.tools("test").unwrap();
    let both = Barrier::new(2);
    let one = async || {
        let session = tools.session().await.unwrap();
        both.wait().await;
        let seen = whoami(&session.call("whoami", json!({})).await.unwrap());
        u32::try_from(seen["pid"].as_u64().unwrap()).unwrap()
    };
    let served = HashSet::from(<[u32; 2]>::from(tokio::join!(one(), one())));
    assert_eq!(served, eager);
    assert_eq!(manager.pool_status("test").unwrap().opened, 2);

    let killed = started()[0];
    processes::signal(killed, processes::Signal::KILL).unwrap();
    let refilled = || idle() == 2 && started().len() == 2 && !started().contains(&killed);
    assert!(processes::wait_until(LONG, refilled).await);
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
