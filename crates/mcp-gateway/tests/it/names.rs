//! Names that are long, that clash, or that clients refuse.

use std::collections::BTreeMap;

use mcp_gateway::Gateway;
use mcp_pooled_tools::{ConnectionManager, PoolSettings, core::connect::in_process::InProcess};
use mcp_testkit::TestServer;
use serde_json::json;

use crate::common::{Served, edge::body, raw::Legacy};

/// A server and its tools.
struct Named {
    name: String,
    tools: Vec<String>,
    server: TestServer,
}

impl Named {
    async fn new(name: &str, tools: &[&str]) -> Self {
        let server = TestServer::new();
        let manager = manager(&[], Some(&server)).await;
        let names = json!({ "names": tools });
        let all = manager.tools("first").unwrap();
        all.call("set_tools", names).await.unwrap();
        manager.shutdown().await;
        Self {
            name: name.to_owned(),
            tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
            server,
        }
    }
}

async fn manager(servers: &[&Named], first: Option<&TestServer>) -> ConnectionManager {
    let servers = servers.iter().map(|named| (&*named.name, &named.server));
    let first = first.into_iter().map(|server| ("first", server));
    let mut builder = ConnectionManager::builder();
    for (name, server) in servers.chain(first) {
        let server = server.clone();
        let settings = PoolSettings::new().min_connections(0);
        builder = builder.connector(name, InProcess::new(move || server.clone()), settings);
    }
    builder.build().await.unwrap()
}

/// The name of each tool of each server, found by calling all that a gateway lists.
async fn names(servers: &[&Named]) -> BTreeMap<(String, String), String> {
    let served = Served::start(Gateway::builder(manager(servers, None).await)).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let page = body(client.send(1, "tools/list", json!({})).await).await;
    let called = || -> BTreeMap<_, _> {
        let all = servers.iter().flat_map(|named| {
            let calls = named.server.stats().calls;
            calls
                .into_iter()
                .map(|(tool, calls)| ((named.name.clone(), tool), calls))
        });
        all.collect()
    };
    let mut names = BTreeMap::new();
    for tool in page["result"]["tools"].as_array().unwrap() {
        let name = tool["name"].as_str().unwrap();
        assert!(name.len() <= 52, "{name}");
        let before = called();
        let reply = body(client.call(2, name, json!({ "message": "hi" })).await).await;
        assert_eq!(reply["result"]["content"][0]["text"], "hi", "{reply}");
        let mut after = called();
        after.retain(|own, calls| before.get(own) != Some(calls));
        let (own, _) = after.pop_first().unwrap();
        assert!(after.is_empty(), "one call: {after:?}");
        assert_eq!(names.insert(own, name.to_owned()), None);
    }
    served.stop().await;
    let tools: usize = servers.iter().map(|named| named.tools.len()).sum();
    assert_eq!(names.len(), tools);
    names
}

#[tokio::test]
async fn long_and_clashing_names_reach_their_servers_and_change_with_no_other_server() {
    let long = "t".repeat(200);
    let longer = format!("{long}x");
    let server = "s".repeat(40);
    let all = [
        Named::new("a__b", &["c", &long]).await,
        Named::new("a", &["b__c", "日志", "größe", &long, &longer]).await,
        Named::new(&server, &["c", "__c"]).await,
    ];
    let [one, two, three] = &all;
    let whole = names(&[one, two, three]).await;
    let of = |server: &str, tool: &str| &whole[&(server.to_owned(), tool.to_owned())];
    assert_eq!(of("a", "b__c"), "a__b__c");
    assert!(of("a__b", "c").starts_with("a__b__c_"));
    // In another order, without some, and with them again.
    for servers in [
        vec![three, two, one],
        vec![two],
        vec![one, three],
        vec![three, one, two],
    ] {
        for (own, name) in names(&servers).await {
            assert_eq!(whole[&own], name, "{own:?}");
        }
    }
}

#[tokio::test]
async fn a_server_whose_name_begins_like_a_reference_is_served_at_its_own_path() {
    let (one, other) = (
        Named::new("x", &["of_x"]).await,
        Named::new("mcp.x", &["of_mcp_x"]).await,
    );
    let served = Served::start(Gateway::builder(manager(&[&one, &other], None).await)).await;
    for named in [&one, &other] {
        let url = format!("{}/s/{}", served.url(), named.name);
        let client = Legacy::open(&url, json!({})).await;
        let page = body(client.send(1, "tools/list", json!({})).await).await;
        let tools = page["result"]["tools"].as_array().unwrap();
        assert_eq!(tools.len(), 1, "{page}");
        assert_eq!(tools[0]["name"], named.tools[0], "{}", named.name);
    }
    served.stop().await;
}
