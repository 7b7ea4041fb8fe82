//! Sharing: which handles share a session.

use crate::common;
use std::collections::HashSet;

use common::{in_process, manager, process, text, whoami};
use mcp_pooled_tools::{
    ConnectionManager, Identity, PoolSettings, PooledTools, ServerConfig, Sharing,
};
use mcp_testkit::{HttpOptions, HttpServer, TestServer};
use rmcp::model::CallToolRequestParams;
use serde_json::json;

async fn pid(tools: &PooledTools) -> u64 {
    whoami(&tools.call("whoami", json!({})).await.unwrap())["pid"]
        .as_u64()
        .expect("a pid")
}

async fn env(tools: &PooledTools, name: &str) -> serde_json::Value {
    whoami(
        &tools
            .call("whoami", json!({ "env": [name] }))
            .await
            .unwrap(),
    )["env"][name]
        .clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_01_identities_never_share_a_session() {
    let server = process(&[]).env("TOKEN", "of nobody");
    let manager = manager(server, PoolSettings::new()).await;
    let nobody = manager.tools("test").unwrap();
    let alice = nobody.with_identity(Identity::new("alice").env("TOKEN", "of alice"));
    let bob = nobody.with_identity(Identity::new("bob").env("TOKEN", "of bob"));
    let alice_again = nobody.with_identity(Identity::new("alice").env("TOKEN", "of alice"));
    let other_alice = nobody.with_identity(Identity::new("alice").env("TOKEN", "of another alice"));

    let pids = [
        pid(&nobody).await,
        pid(&alice).await,
        pid(&bob).await,
        pid(&other_alice).await,
    ];
    assert_eq!(
        pids.iter().collect::<HashSet<_>>().len(),
        4,
        "each has a process of its own"
    );
    assert_eq!(pid(&alice_again).await, pids[1], "the same identity shares");
    assert_eq!(env(&nobody, "TOKEN").await, "of nobody");
    assert_eq!(env(&alice, "TOKEN").await, "of alice");
    assert_eq!(env(&other_alice, "TOKEN").await, "of another alice");

    let shown = format!(
        "{:?} {:?} {}",
        alice,
        manager,
        serde_json::to_string(&manager.status()).unwrap()
    );
    assert!(!shown.contains("of alice"), "{shown}");
    manager.shutdown().await;
}

#[tokio::test]
async fn identities_over_http_send_their_own_headers() {
    let server = HttpServer::start(HttpOptions::default()).await;
    let config = ServerConfig::http(server.url()).header("x-who", "nobody");
    let manager = ConnectionManager::builder()
        .server("test", config)
        .build()
        .await
        .unwrap();
    let nobody = manager.tools("test").unwrap();
    let alice = nobody.with_identity(
        Identity::new("alice")
            .bearer("secret-of-alice")
            .header("X-Who", "alice"),
    );
    for (tools, who) in [(&nobody, "nobody"), (&alice, "alice"), (&nobody, "nobody")] {
        let seen = tools
            .call("whoami", json!({ "headers": ["x-who", "authorization"] }))
            .await
            .unwrap();
        let seen = whoami(&seen);
        assert_eq!(seen["headers"]["x-who"], who);
        let token = seen["headers"]["authorization"].as_str() == Some("Bearer secret-of-alice");
        assert_eq!(token, who == "alice");
    }
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_never_share_a_pinned_session() {
    let manager = manager(process(&[]), PoolSettings::new().sharing(Sharing::Pinned)).await;
    let one = manager.tools("test").unwrap();
    let clone_of_one = one.clone();
    let other = manager.tools("test").unwrap();
    let named = one.scoped("workspace");
    let same_name = other.scoped("workspace");

    let first = pid(&one).await;
    assert_eq!(pid(&clone_of_one).await, first, "a clone is the same scope");
    assert_ne!(pid(&other).await, first);
    let shared = pid(&named).await;
    assert_ne!(shared, first);
    assert_eq!(
        pid(&same_name).await,
        shared,
        "the same name is the same scope"
    );

    drop((named, same_name));
    let gone = u32::try_from(shared).expect("a pid");
    assert!(
        mcp_testkit::process::wait_gone([gone], common::LONG).await,
        "the scope ended, and its session with it"
    );
    let second = pid(&one.scoped("workspace")).await;
    assert_ne!(
        second, shared,
        "a scope that ended does not come back to its session"
    );
    assert_eq!(pid(&one).await, first);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_batch_runs_on_one_session_in_order() {
    let server = TestServer::new();
    let manager = in_process(&server, PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let call = |name: &'static str, arguments: serde_json::Value| {
        CallToolRequestParams::new(name)
            .with_arguments(arguments.as_object().cloned().expect("an object"))
    };
    let results = tools
        .batch([
            call("echo", json!({ "message": "a" })),
            call("fail", json!({ "code": -32000, "message": "no" })),
            call("echo", json!({ "message": "b" })),
        ])
        .await
        .unwrap();
    assert_eq!(text(results[0].as_ref().unwrap()), "a");
    assert!(results[1].is_err());
    assert_eq!(text(results[2].as_ref().unwrap()), "b");
    let status = manager.pool_status("test").unwrap();
    assert_eq!(
        (
            status.in_flight,
            status.sessions.iter().map(|session| session.calls).max()
        ),
        (0, Some(3))
    );
    manager.shutdown().await;
}

#[tokio::test]
async fn a_session_of_ones_own_is_shared_with_nobody_while_it_is_held() {
    let server = TestServer::new();
    let manager = in_process(&server, PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let mine = tools.session().await.unwrap();
    let before = mine.session().calls();
    for _ in 0..10 {
        common::echo(&tools, "other").await;
    }
    assert_eq!(mine.session().calls(), before);
    common::echo(&mine, "mine").await;
    assert_eq!(mine.session().calls(), before + 1);
    drop(mine);
    manager.shutdown().await;
}
