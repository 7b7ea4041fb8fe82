//! Streams: changes, comments, readers that do not read.

use std::time::Duration;

use mcp_gateway::Gateway;
use mcp_testkit::{Era, TestServer, process::wait_until};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{
    LONG, Served,
    edge::{self, ANN, BEN, two_tokens},
    manager, over_http,
    raw::{Events, Legacy, modern},
};

#[tokio::test]
async fn pain_37_a_changed_list_is_one_notification_in_either_era() {
    let server = TestServer::new();
    let served = Served::start(Gateway::builder(manager(&server).await)).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    client.send(1, "tools/list", json!({})).await;
    let mut events = client.listen().await;
    let http = reqwest::Client::new();
    let wanted = json!({"notifications": {"toolsListChanged": true}});
    let mut subscribed =
        Events::of(modern(&http, &served.url(), 9, "subscriptions/listen", wanted).await);
    let acknowledged = subscribed.next().await.unwrap();
    assert_eq!(
        acknowledged["method"],
        "notifications/subscriptions/acknowledged"
    );
    let meta = json!({"io.modelcontextprotocol/subscriptionId": 9});
    assert_eq!(acknowledged["params"]["_meta"], meta);

    client
        .call(2, "test__set_tools", json!({"names": ["echo", "new"]}))
        .await;
    for events in [&mut events, &mut subscribed] {
        let change = timeout(LONG, events.next()).await.unwrap().unwrap();
        assert_eq!(change["method"], "notifications/tools/list_changed");
    }
    served.stop().await;
}

#[tokio::test]
async fn pain_35_a_silent_call_becomes_a_stream_with_comments() {
    let gateway =
        Gateway::builder(manager(&TestServer::new()).await).keep_alive(Duration::from_millis(50));
    let served = Served::start(gateway).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let mut events = Events::of(client.call(1, "test__sleep", json!({"ms": 500})).await);
    assert!(events.next_raw().await.unwrap().starts_with(": "));
    let result = events.next().await.unwrap();
    assert_eq!(result["result"]["content"][0]["text"], "slept 500 ms");
    served.stop().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_loses_its_call_and_no_other_waits() {
    let server = TestServer::new();
    let served = Served::start(Gateway::builder(manager(&server).await)).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let params = json!({"name": "test__progress", "arguments": {"steps": 1_000_000, "ms": 0},
        "_meta": {"progressToken": "p".repeat(20_000)}});
    // Never read.
    let stuck = client.send(1, "tools/call", params).await;
    assert_eq!(stuck.status(), 200);
    let other = client.call(2, "test__echo", json!({"message": "a"})).await;
    assert_eq!(other.status(), 200);
    assert!(wait_until(LONG, || server.cancelled() == 1).await);
    served.stop().await;
}

#[tokio::test]
async fn pain_51_a_legacy_servers_question_is_parked_until_a_modern_client_retries() {
    let (server, manager) = over_http(Era::Legacy).await;
    let served = Served::start(Gateway::builder(manager)).await;
    let (http, url) = (reqwest::Client::new(), served.url());
    let params = json!({"name": "test__ask", "arguments": {"what": ["elicitation"]}});
    let asked: Value = modern(&http, &url, 1, "tools/call", params.clone())
        .await
        .json()
        .await
        .unwrap();
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required");
    let (name, question) = result["inputRequests"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    assert_eq!(question["method"], "elicitation/create");

    let mut retry = params.clone();
    retry["requestState"] = result["requestState"].clone();
    retry["inputResponses"] = json!({name: {"action": "accept", "content": {"name": "ann"}}});
    let mut other = retry.clone();
    other["arguments"]["what"] = json!(["roots"]);
    let refused: Value = modern(&http, &url, 2, "tools/call", other)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        refused["error"]["code"], -32602,
        "the state is bound to its arguments"
    );

    let done: Value = modern(&http, &url, 3, "tools/call", retry.clone())
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(done["id"], 3);
    assert_eq!(
        done["result"]["content"][0]["text"],
        r#"{"elicitation":"ann"}"#
    );
    assert_eq!(server.server().calls_of("ask"), 1, "one call");

    let again: Value = modern(&http, &url, 4, "tools/call", retry)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(again["error"]["code"], -32602, "it waits no more");
    served.stop().await;
}

#[tokio::test]
async fn the_state_of_a_question_is_good_for_its_principal_tool_and_arguments_alone() {
    for era in [Era::Legacy, Era::Modern] {
        let server = TestServer::new().with_era(era);
        let served = edge::served(&server, json!({ "tokens": two_tokens() })).await;
        let send = async |token: &str, params: &Value| {
            let sent = edge::request(&served, token, "tools/call", params.clone()).send();
            edge::body(sent.await.unwrap()).await
        };
        let params = json!({ "name": "test__ask", "arguments": { "what": ["elicitation"] } });
        let asked = send(ANN, &params).await;
        let questions = asked["result"]["inputRequests"].as_object();
        let questions = questions.unwrap_or_else(|| panic!("{era:?}: {asked}"));
        let name = questions.keys().next().unwrap();
        let mut retry = params;
        retry["requestState"] = asked["result"]["requestState"].clone();
        retry["inputResponses"] =
            json!({ name: { "action": "accept", "content": { "name": "ann" } } });
        let mut of_others = [retry.clone(), retry.clone(), retry.clone()];
        of_others[1]["name"] = json!("test__echo");
        of_others[2]["arguments"]["what"] = json!(["roots"]);
        for (token, params) in [BEN, ANN, ANN].into_iter().zip(&of_others) {
            let refused = send(token, params).await;
            assert_eq!(refused["error"]["code"], -32602, "{era:?}: {refused}");
        }
        let done = send(ANN, &retry).await;
        let said = &done["result"]["content"][0]["text"];
        assert_eq!(*said, r#"{"elicitation":"ann"}"#, "{era:?}: {done}");
        served.stop().await;
    }
}

#[tokio::test]
async fn a_parked_call_that_is_not_answered_is_cancelled() {
    let (server, manager) = over_http(Era::Legacy).await;
    let gateway = Gateway::builder(manager).park_limit(Duration::from_millis(100));
    let served = Served::start(gateway).await;
    let http = reqwest::Client::new();
    let params = json!({"name": "test__ask", "arguments": {"what": ["elicitation"]}});
    let asked: Value = modern(&http, &served.url(), 1, "tools/call", params)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(asked["result"]["resultType"], "input_required");
    assert!(wait_until(LONG, || server.server().stats().cancelled == 1).await);
    served.stop().await;
}

#[tokio::test]
async fn headers_of_a_modern_request_must_agree_with_its_body() {
    let served = Served::start(Gateway::builder(manager(&TestServer::new()).await)).await;
    let http = reqwest::Client::new();
    let params = json!({"name": "test__echo", "arguments": {"message": "a"}});
    let sending = crate::common::raw::modern_request(&http, &served.url(), 1, "tools/call", params);
    let mut request = sending.build().unwrap();
    request
        .headers_mut()
        .insert("mcp-name", "test__fail".parse().unwrap());
    let response = http.execute(request).await.unwrap();
    assert_eq!(response.status(), 400);
    let error: Value = response.json().await.unwrap();
    assert_eq!(
        (&error["id"], &error["error"]["code"]),
        (&json!(1), &json!(-32020))
    );
    let unknown = modern(&http, &served.url(), 2, "ping", json!({})).await;
    assert_eq!(unknown.status(), 404);
    served.stop().await;
}
