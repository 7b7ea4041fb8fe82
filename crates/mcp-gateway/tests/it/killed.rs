//! A process of a server that is killed in mid call.

use mcp_gateway::Gateway;
use mcp_pooled_tools::{ConnectionManager, PoolSettings, ServerConfig, Sharing};
use mcp_testkit::process::{self, Signal, wait_until};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{
    LONG, Served,
    load::{Caller, Load},
};

const SERVERS: [&str; 5] = ["a", "b", "c", "d", "e"];
const ECHOES: [&str; 5] = ["a__echo", "b__echo", "c__echo", "d__echo", "e__echo"];

/// The process that serves `a`.
async fn process_of_a(client: &Caller) -> u32 {
    let who = client.call(1, "a__whoami", json!({})).await;
    let pid = who["result"]["structuredContent"]["pid"].as_u64();
    u32::try_from(pid.unwrap_or_else(|| panic!("{who}"))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_mid_call_costs_that_call_alone() {
    let settings = PoolSettings::new()
        .min_connections(0)
        .sharing(Sharing::Multiplexed);
    let mut builder = ConnectionManager::builder().defaults(settings);
    for server in SERVERS {
        let process = ServerConfig::stdio(mcp_testkit::binary().to_string_lossy());
        builder = builder.server(server, process);
    }
    let served = Served::start(Gateway::builder(builder.build().await.unwrap())).await;
    let url = served.url();
    let clients = [
        Caller::legacy(&url).await,
        Caller::legacy(&url).await,
        Caller::modern(&url),
        Caller::modern(&url),
    ];
    let victim = process_of_a(&clients[0]).await;

    let load = Load::on(&clients, &ECHOES);
    let call = |client: &Caller, id: u64, tool: &str, arguments: Value| {
        let (client, tool) = (client.clone(), tool.to_owned());
        tokio::spawn(async move { client.call(id, &tool, arguments).await })
    };
    // It takes a minute, and it is declared to have effects: it cannot be carried out again.
    let lost = call(&clients[0], 2, "a__exit", json!({ "after_ms": 60_000 }));
    let slow: Vec<_> = SERVERS[1..]
        .iter()
        .zip(&clients)
        .map(|(server, client)| {
            call(
                client,
                3,
                &format!("{server}__sleep"),
                json!({ "ms": 2_000 }),
            )
        })
        .collect();
    let mut is_under_way = false;
    while !is_under_way {
        let stats = clients[1].call(4, "a__stats", json!({})).await;
        is_under_way = stats["result"]["structuredContent"]["calls"]["exit"] == 1;
    }
    load.goes_on().await;

    process::signal(victim, Signal::KILL).unwrap();
    let lost = timeout(LONG, lost).await.unwrap().unwrap();
    let error = &lost["error"];
    assert_eq!(error["data"]["source"], "mcp-pool", "{lost}");
    assert!(
        error["message"].as_str().unwrap().contains("server `a`"),
        "{lost}"
    );
    load.goes_on().await;
    for slow in slow {
        let slow = timeout(LONG, slow).await.unwrap().unwrap();
        assert_eq!(slow["result"]["content"][0]["text"], "slept 2000 ms");
    }
    // The calls of the load only read. Those that were on the way to the killed process were made once more.
    load.end().await;
    for client in &clients {
        assert_ne!(process_of_a(client).await, victim);
    }
    assert!(wait_until(LONG, || !process::alive(victim)).await);
    served.stop().await;
}
