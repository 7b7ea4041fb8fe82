//! Modern clients that can do the same, on one session of a legacy server that does not say which call it asks for.

use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, Sharing, core::connect::in_process::InProcess,
};
use mcp_testkit::{Era, TestServer};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{
    LONG, Served,
    raw::{Events, modern},
};

async fn pinned(server: &TestServer) -> Served {
    let server = server.with_era(Era::Legacy);
    let settings = PoolSettings::new().retry_attempts(0).min_connections(0);
    let manager = ConnectionManager::builder()
        .connector(
            "test",
            InProcess::new(move || server.clone()),
            settings.sharing(Sharing::Pinned),
        )
        .build()
        .await
        .unwrap();
    Served::start(Gateway::builder(manager)).await
}

/// A call that asks, answered with this name: what the server was told, or the error.
async fn ask(url: &str, name: &str) -> Result<Value, String> {
    let http = reqwest::Client::new();
    // No two clients have the same arguments, so that the answer of one does not fit the call of another.
    let mut params =
        json!({ "name": "test__ask", "arguments": { "what": ["elicitation"], "of": name } });
    let send = async |params: Value| -> Value {
        let sent = timeout(LONG, modern(&http, url, 1, "tools/call", params));
        sent.await.unwrap().json().await.unwrap()
    };
    let asked = send(params.clone()).await;
    let questions = asked["result"]["inputRequests"].as_object();
    let Some((question, _)) = questions.and_then(|questions| questions.iter().next()) else {
        return Err(asked.to_string());
    };
    params["requestState"] = asked["result"]["requestState"].clone();
    params["inputResponses"] =
        json!({ question: { "action": "accept", "content": { "name": name } } });
    let told = send(params).await;
    let told = told["result"]["content"][0]["text"]
        .as_str()
        .map(str::to_owned);
    serde_json::from_str(&told.ok_or("no text")?).map_err(|error| error.to_string())
}

#[tokio::test]
async fn questions_of_two_modern_clients_never_cross_on_a_server_that_names_no_call() {
    let server = TestServer::new();
    let served = pinned(&server).await;
    let url = served.url();
    for round in 0..20 {
        let (ann, ben) = tokio::join!(ask(&url, "ann"), ask(&url, "ben"));
        for (name, told) in [("ann", ann), ("ben", ben)] {
            match told {
                Ok(told) => assert_eq!(told, json!({ "elicitation": name })),
                // The gateway does not know yet that this server asks.
                Err(error) => assert!(round == 0, "{name}, round {round}: {error}"),
            }
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn a_modern_client_that_ends_its_subscription_leaves_that_of_another() {
    let server = TestServer::new();
    let served = pinned(&server).await;
    let (http, url) = (reqwest::Client::new(), served.url());
    let listen = async || {
        let wanted = json!({ "notifications": { "resourceSubscriptions": ["testkit://readme"] } });
        let sent = modern(&http, &url, 9, "subscriptions/listen", wanted).await;
        let mut events = Events::of(sent);
        let acknowledged = events.next().await.unwrap();
        let taken = &acknowledged["params"]["notifications"]["resourceSubscriptions"];
        assert_eq!(*taken, json!(["testkit://readme"]));
        events
    };
    let _one = listen().await;
    let other = listen().await;
    assert_eq!(server.requests_of("resources/subscribe"), 1, "for both");
    drop(other);
    let third = listen().await;
    drop(third);
    // The end of a subscription is noticed by the end of its stream; a call after it comes later.
    let echo = json!({ "name": "test__echo", "arguments": { "message": "a" } });
    modern(&http, &url, 1, "tools/call", echo).await;
    assert_eq!(server.requests_of("resources/unsubscribe"), 0);
    served.stop().await;
}
