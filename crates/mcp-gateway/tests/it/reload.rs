//! A configuration that changes while clients call.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    ConnectionManager,
    config::{Config, Loader},
};
use mcp_testkit::process::{by_marker, wait_until};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::common::{
    LONG, Served,
    load::{Caller, Load},
    raw::{Events, Legacy, modern},
};

fn config(servers: Value) -> Config {
    let text = json!({ "mcpServers": servers }).to_string();
    // A server that is slow to start on a busy machine is waited for, and not missing for a while.
    let patient = [("MCP_AGGREGATOR_LIST_TIMEOUT", "60s")];
    let loader = Loader::new().environment(patient);
    loader.text("gateway.json", text).load().unwrap()
}

/// A server as a process, found by its marker.
fn process(marker: &str) -> Value {
    json!({
        "command": mcp_testkit::binary(),
        "args": ["--marker", marker],
        "pool": { "sharing": "multiplexed" },
    })
}

/// Changes of the list of tools that a client has been told of.
struct Changes {
    seen: Arc<AtomicUsize>,
    reading: JoinHandle<()>,
}

impl Changes {
    fn of(mut events: Events) -> Self {
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&seen);
        let reading = tokio::spawn(async move {
            while let Some(message) = events.next().await {
                if message["method"] == "notifications/tools/list_changed" {
                    counted.fetch_add(1, Relaxed);
                }
            }
        });
        Self { seen, reading }
    }

    fn seen(&self) -> usize {
        self.seen.load(Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_under_load_fails_no_call_and_is_one_change_to_each_client() {
    let marker = |name: &str| format!("gateway-reload-{name}-{}", std::process::id());
    let [a, b, gone, added] = ["a", "b", "gone", "added"].map(|name| process(&marker(name)));
    let first = config(json!({ "a": a, "b": b, "gone": gone }));
    let manager = ConnectionManager::from_config(first).await.unwrap();
    let served = Served::start(Gateway::builder(manager.clone())).await;
    let url = served.url();
    let (legacy, http) = (Legacy::open(&url, json!({})).await, Client::new());
    let clients = [Caller::Legacy(legacy.clone()), Caller::modern(&url)];
    // Every server is known, so that what follows is a change.
    for client in &clients {
        let listed = client.send(1, "tools/list", json!({})).await;
        assert!(listed["result"]["_meta"].is_null(), "{listed}");
    }
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    let mut listening = Events::of(modern(&http, &url, 9, "subscriptions/listen", wanted).await);
    listening.next().await.unwrap();
    let changes = [Changes::of(legacy.listen().await), Changes::of(listening)];
    let told = async |times: usize| {
        let told = || changes.iter().all(|changes| changes.seen() >= times);
        assert!(wait_until(LONG, told).await, "{times}");
    };

    let load = Load::on(&clients, &["a__echo", "b__echo"]);
    load.goes_on().await;
    let mut narrowed = b.clone();
    narrowed["aggregator"] = json!({ "allow": ["echo", "sleep"] });
    let second = config(json!({ "a": a, "b": narrowed }));
    manager.reload(second).unwrap();
    told(1).await;
    load.goes_on().await;

    let third = config(json!({ "a": a, "b": narrowed, "added": added }));
    manager.reload(third).unwrap();
    told(2).await;
    load.goes_on().await;

    // Another process with the same tools: its clients have nothing to list again.
    let mut moved = narrowed.clone();
    moved["args"] = json!(["--marker", marker("moved")]);
    let before = by_marker(&marker("b"));
    assert!(!before.is_empty());
    let fourth = config(json!({ "a": a, "b": moved, "added": added }));
    manager.reload(fourth).unwrap();
    assert!(wait_until(LONG, || by_marker(&marker("b")).is_empty()).await);
    load.goes_on().await;

    let listed = clients[0].send(2, "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let of = |server: &str| {
        let names = tools.iter().map(|tool| tool["name"].as_str().unwrap());
        let prefix = format!("{server}__");
        names.filter(|name| name.starts_with(&prefix)).count()
    };
    assert_eq!((of("b"), of("gone")), (2, 0));
    assert!(of("added") > 2);
    load.end().await;
    // The streams end, and with them what could still come.
    served.stop().await;
    for Changes { seen, reading } in changes {
        reading.await.unwrap();
        assert_eq!(seen.load(Relaxed), 2, "one for each change of the list");
    }
}
