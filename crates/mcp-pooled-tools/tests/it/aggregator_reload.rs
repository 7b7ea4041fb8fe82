//! Merged lists while the configuration changes.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};

use mcp_pooled_tools::{
    ConnectionManager,
    config::{Config, Loader},
};
use mcp_testkit::{
    process::wait_until,
    scripted_http::{Answer, ScriptedHttp},
};
use serde_json::{Value, json};

use crate::common::LONG;

fn config(servers: Value) -> Config {
    let text = json!({ "mcpServers": servers }).to_string();
    let loader = Loader::new().environment([("MCP_AGGREGATOR_LIST_TIMEOUT", "60s")]);
    loader.text("servers.json", text).load().unwrap()
}

fn http(server: &ScriptedHttp, allow: &str) -> Value {
    json!({ "type": "http", "url": server.url(), "aggregator": { "allow": [allow] } })
}

/// A server whose lists never come once a tool has said that they have changed.
async fn stuck() -> ScriptedHttp {
    let is_stuck = AtomicBool::new(false);
    ScriptedHttp::start(move |asked| match asked.method() {
        "tools/call" => {
            is_stuck.store(true, SeqCst);
            let method = "notifications/tools/list_changed";
            let changed = json!({ "jsonrpc": "2.0", "method": method });
            let called = asked.reply(json!({ "content": [] }));
            Some(Answer::events().event(&changed).event(&called))
        }
        "tools/list" if is_stuck.load(SeqCst) => Some(Answer::new(200, "").silent()),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_replaced_while_it_is_listed_changes_no_list() {
    let (old, new) = (stuck().await, ScriptedHttp::start(|_| None).await);
    let first = config(json!({ "a": http(&old, "*") }));
    let manager = ConnectionManager::from_config(first).await.unwrap();
    let all = manager.aggregator();
    let before = all.list_all_tools().await.unwrap();
    assert!(before.len() == 1 && before.missing.is_empty());
    let (mut changes, seen) = (all.list_changes(), Arc::new(AtomicUsize::new(0)));
    let counting = tokio::spawn({
        let seen = Arc::clone(&seen);
        async move {
            while changes.next().await.is_some() {
                seen.fetch_add(1, Relaxed);
            }
        }
    });
    all.call("a__echo", json!({ "message": "m" }))
        .await
        .unwrap();
    let is_listed_again = || old.count("tools/list") >= 2 && old.open() > 0;
    assert!(wait_until(LONG, is_listed_again).await);

    manager
        .reload(config(json!({ "a": http(&new, "*") })))
        .unwrap();
    assert!(wait_until(LONG, || new.count("tools/list") > 0).await);
    let after = all.list_all_tools().await.unwrap();
    assert!(json!(after) == json!(before) && after.missing.is_empty());
    manager
        .reload(config(json!({ "a": http(&new, "none") })))
        .unwrap();
    assert!(wait_until(LONG, || seen.load(Relaxed) > 0).await);
    assert!(all.list_all_tools().await.unwrap().is_empty());
    manager.shutdown().await;
    counting.await.unwrap();
    assert_eq!(seen.load(Relaxed), 1, "the change of the filter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_of_one_configuration_and_never_of_half_a_reload() {
    const RELOADS: usize = 400;
    let servers = [
        ScriptedHttp::start(|_| None).await,
        ScriptedHttp::start(|_| None).await,
    ];
    let with = |allow: &str| {
        let [a, b] = servers.each_ref().map(|server| http(server, allow));
        config(json!({ "a": a, "b": b }))
    };
    let configs = [with("*"), with("none")];
    let manager = ConnectionManager::from_config(configs[0].clone())
        .await
        .unwrap();
    let all = manager.aggregator();
    assert_eq!(all.list_all_tools().await.unwrap().len(), 2);
    let is_over = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (all, is_over) = (all.clone(), Arc::clone(&is_over));
        async move {
            while !is_over.load(Relaxed) {
                let tools = all.list_all_tools().await.unwrap();
                assert!([0, 2].contains(&tools.len()), "{tools:?}");
                tokio::task::yield_now().await;
            }
        }
    });
    let reloading = tokio::task::spawn_blocking({
        let manager = manager.clone();
        move || {
            for number in 1..=RELOADS {
                manager.reload(configs[number % 2].clone()).unwrap();
            }
        }
    });
    reloading.await.unwrap();
    is_over.store(true, Relaxed);
    reading.await.unwrap();
    manager.shutdown().await;
}
