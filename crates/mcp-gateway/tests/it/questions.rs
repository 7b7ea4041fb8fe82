//! Questions of servers to many clients at once.

use futures::{StreamExt as _, stream};
use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, Sharing, core::connect::in_process::InProcess,
};
use mcp_testkit::{Era, TestServer};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{
    MINUTE, Served, over_http,
    raw::{Events, Legacy, modern},
};

/// Calls of each of four clients.
const CALLS: u64 = 250;

fn answer(said: &str) -> Value {
    json!({ "action": "accept", "content": { "name": said } })
}

fn assert_answered(reply: &Value, id: u64, said: &str) {
    assert_eq!(reply["id"], id, "{reply}");
    let text = &reply["result"]["content"][0]["text"];
    assert_eq!(*text, json!({ "elicitation": said }).to_string(), "{reply}");
}

/// A legacy client is asked on the stream of its call.
async fn legacy(url: &str, name: &str, at_once: usize) {
    let client = Legacy::open(url, json!({ "elicitation": { "form": {} } })).await;
    let ask = async |id: u64| {
        let said = format!("{name} {id}");
        let arguments = json!({ "what": ["elicitation"] });
        let mut events = Events::of(client.call(id, "test__ask", arguments).await);
        let question = events.next().await.unwrap();
        assert_eq!(question["method"], "elicitation/create");
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer(&said) });
        let sent = client.post().json(&answer).send().await.unwrap();
        assert_eq!(sent.status(), 202);
        assert_answered(&events.next().await.unwrap(), id, &said);
    };
    let calls = stream::iter(1..=CALLS).map(ask);
    calls.buffer_unordered(at_once).collect::<()>().await;
}

/// A modern client finds the question in the result of its call, and sends the call again with the answer.
async fn modern_client(url: &str, name: &str, at_once: usize) {
    let http = Client::new();
    let ask = async |id: u64| {
        let said = format!("{name} {id}");
        let mut params = json!({ "name": "test__ask", "arguments": { "what": ["elicitation"] } });
        let asked = modern(&http, url, id, "tools/call", params.clone()).await;
        let asked: Value = asked.json().await.unwrap();
        let result = &asked["result"];
        let questions = result["inputRequests"].as_object();
        let mut questions = questions.unwrap_or_else(|| panic!("{asked}")).keys();
        params["requestState"] = result["requestState"].clone();
        params["inputResponses"] = json!({ questions.next().unwrap(): answer(&said) });
        let reply = modern(&http, url, id, "tools/call", params).await;
        assert_answered(&reply.json().await.unwrap(), id, &said);
    };
    let calls = stream::iter(1..=CALLS).map(ask);
    calls.buffer_unordered(at_once).collect::<()>().await;
}

/// Four clients have a thousand questions answered, so many at once each. The last one asks at an address of its own, if at
/// any.
async fn four_clients(manager: ConnectionManager, at_once: usize, last: &str) {
    let gateway = Gateway::builder(manager).profile("other", ["mcp.test"]);
    let served = Served::start(gateway).await;
    let url = served.url();
    let last = format!("{url}{last}");
    let clients = async {
        tokio::join!(
            legacy(&url, "ann", at_once),
            legacy(&url, "ben", at_once),
            modern_client(&url, "cat", at_once),
            modern_client(&last, "dan", at_once),
        )
    };
    timeout(MINUTE, clients).await.unwrap();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_interleaved_questions_of_a_legacy_server_never_cross() {
    let (server, manager) = over_http(Era::Legacy).await;
    four_clients(manager, 4, "").await;
    assert_eq!(server.server().calls_of("ask"), 4 * CALLS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_interleaved_questions_of_a_modern_server_never_cross() {
    let (_server, manager) = over_http(Era::Modern).await;
    four_clients(manager, 4, "").await;
}

/// On a pipe nothing says which call a legacy server asks for. So each client has one call at a time. Modern clients of one
/// principal at one address are one client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_interleaved_questions_of_a_legacy_server_on_pipes_never_cross() {
    let server = TestServer::new().with_era(Era::Legacy);
    let settings = PoolSettings::new()
        .retry_attempts(0)
        .min_connections(0)
        .sharing(Sharing::Pinned);
    let connector = InProcess::new(move || server.clone());
    let manager = ConnectionManager::builder().connector("test", connector, settings);
    four_clients(manager.build().await.unwrap(), 1, "/p/other").await;
}
