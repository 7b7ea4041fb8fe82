//! Every way to end a manager leaves nothing behind.

use crate::common;
use std::time::Duration;

use common::{LONG, manager, process, whoami};
use mcp_pooled_tools::{ConnectionManager, ErrorKind, PoolSettings};
use mcp_testkit::process as processes;
use serde_json::json;

/// Three sessions of a server that has a grandchild each, and all their processes.
async fn three_sessions(faults: &[&str]) -> (ConnectionManager, Vec<u32>) {
    let settings = PoolSettings::new()
        .sharing(mcp_pooled_tools::Sharing::Exclusive)
        .shutdown_grace(Duration::from_millis(300));
    let manager = manager(process(faults), settings).await;
    let tools = manager.tools("test").unwrap();
    let sessions = [
        tools.session().await.unwrap(),
        tools.session().await.unwrap(),
        tools.session().await.unwrap(),
    ];
    let mut pids = Vec::new();
    for session in &sessions {
        let pid = whoami(&session.call("whoami", json!({})).await.unwrap())["pid"]
            .as_u64()
            .expect("a pid");
        let pid = u32::try_from(pid).expect("a pid");
        pids.push(pid);
        pids.extend(processes::descendants(pid));
    }
    (manager, pids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_07_after_shutdown_no_process_is_left() {
    let (manager, pids) = three_sessions(&["--grandchild", "ignores", "--ignore-sigterm"]).await;
    assert!(
        pids.len() >= 6,
        "three servers and their grandchildren: {pids:?}"
    );
    manager.shutdown().await;
    let alive: Vec<_> = pids.iter().filter(|pid| processes::alive(**pid)).collect();
    assert!(alive.is_empty(), "left behind: {alive:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_everything_was_dropped_no_process_is_left() {
    let (manager, pids) = three_sessions(&["--grandchild", "ignores"]).await;
    drop(manager);
    assert!(processes::wait_gone(pids, LONG).await);
}

#[test]
fn after_the_runtime_was_dropped_no_process_is_left() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (manager, pids) = runtime.block_on(three_sessions(&["--grandchild", "ignores"]));
    drop(runtime);
    drop(manager);
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert!(other.block_on(processes::wait_gone(pids, LONG)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_panic_in_a_caller_nothing_is_lost() {
    let manager = manager(process(&[]), PoolSettings::new().max_connections(1)).await;
    let tools = manager.tools("test").unwrap();
    let panicked = tokio::spawn({
        let tools = tools.clone();
        async move {
            let _session = tools.session().await.unwrap();
            panic!("on purpose");
        }
    });
    assert!(panicked.await.unwrap_err().is_panic());
    let pid = whoami(&tools.call("whoami", json!({})).await.unwrap())["pid"]
        .as_u64()
        .expect("a pid");
    manager.shutdown().await;
    assert!(!processes::alive(u32::try_from(pid).expect("a pid")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_lets_calls_finish_within_the_grace_and_ends_them_after() {
    let manager = manager(
        process(&[]),
        PoolSettings::new().shutdown_grace(Duration::from_secs(2)),
    )
    .await;
    let tools = manager.tools("test").unwrap();
    common::echo(&tools, "open").await;
    let quick = tokio::spawn({
        let tools = tools.clone();
        async move { tools.call("sleep", json!({ "ms": 200 })).await }
    });
    let endless = tokio::spawn({
        let tools = tools.clone();
        async move { tools.call("sleep", json!({ "ms": 600_000 })).await }
    });
    assert!(
        processes::wait_until(LONG, || manager.pool_status("test").unwrap().in_flight == 2).await
    );
    manager.shutdown().await;
    quick.await.unwrap().expect("it had the time");
    assert!(endless.await.unwrap().is_err());
    assert_eq!(
        tools.call("echo", json!({})).await.unwrap_err().kind(),
        ErrorKind::ShuttingDown
    );
    assert_eq!(
        manager.tools("test").unwrap_err().kind(),
        ErrorKind::ShuttingDown
    );
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_also_ends_a_pool_that_was_exchanged_while_somebody_held_its_session() {
    let settings = PoolSettings::new().shutdown_grace(Duration::from_millis(300));
    let manager = manager(process(&[]), settings).await;
    let held = manager.tools("test").unwrap().session().await.unwrap();
    let pid = held.session().pid().expect("a process");
    let pinned = PoolSettings::new().sharing(mcp_pooled_tools::Sharing::Pinned);
    manager.configure_server("test", pinned).unwrap();
    manager.shutdown().await;
    assert!(!processes::alive(pid));
    assert!(held.call("echo", json!({ "message": "x" })).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_waits_for_the_pools_of_identities_that_were_let_go() {
    let manager = manager(process(&["--ignore-eof"]), PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let first = tools.with_identity(mcp_pooled_tools::Identity::new("first").env("N", "first"));
    let pid = whoami(&first.call("whoami", json!({})).await.unwrap())["pid"]
        .as_u64()
        .expect("a pid");
    drop(first);
    for n in 0..70 {
        drop(tools.with_identity(mcp_pooled_tools::Identity::new("other").env("N", n.to_string())));
    }
    manager.shutdown().await;
    assert!(!processes::alive(u32::try_from(pid).expect("a pid")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_also_ends_a_direct_call_in_flight() {
    let marker = format!("direct-in-flight-{}", std::process::id());
    let settings = PoolSettings::new().shutdown_grace(Duration::from_millis(300));
    let manager = manager(process(&["--marker", &marker]), settings).await;
    let direct = manager.direct_tools("test").unwrap();
    let call = tokio::spawn(async move { direct.call("sleep", json!({ "ms": 600_000 })).await });
    assert!(processes::wait_until(LONG, || !processes::by_marker(&marker).is_empty()).await);
    manager.shutdown().await;
    assert!(processes::by_marker(&marker).is_empty());
    assert!(call.await.unwrap().is_err());
}
