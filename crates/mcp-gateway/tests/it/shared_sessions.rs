//! Modern clients that can do the same, on one session of a legacy server that does not say which call it asks for.

use axum::{Extension, body::Body};
use http::Request;
use mcp_gateway::{Gateway, Principal};
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, Sharing, core::connect::in_process::InProcess,
};
use mcp_testkit::{Era, TestServer};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::common::{
    LONG, Served,
    raw::{Events, modern, modern_request},
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

/// A call that asks, whose response the client does not read.
async fn ask_and_go(gateway: &Gateway) {
    let params = json!({ "name": "test__ask", "arguments": { "what": ["elicitation"] } });
    let (http, url) = (reqwest::Client::new(), "http://localhost/mcp");
    let request = modern_request(&http, url, 1, "tools/call", params);
    let request = request.header("host", "localhost").build().unwrap();
    let request: Request<reqwest::Body> = request.try_into().unwrap();
    let router = gateway.router().layer(Extension(Principal::local()));
    let response = router.oneshot(request.map(Body::new)).await.unwrap();
    // It has the question, which waits in the body.
    let length = response.headers()["content-length"].to_str().unwrap();
    assert!(length.parse::<usize>().unwrap() > 100);
    drop(response);
}

#[tokio::test]
async fn a_client_that_goes_before_it_has_the_question_leaves_its_turn_to_the_next() {
    let server = TestServer::new();
    let served = pinned(&server).await;
    // The second has the server for itself.
    for calls in 1..=2 {
        ask_and_go(&served.gateway).await;
        let told = timeout(LONG, ask(&served.url(), "ann")).await;
        assert_eq!(told.unwrap(), Ok(json!({ "elicitation": "ann" })));
        assert_eq!(server.calls_of("ask"), 2 * calls);
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
