//! Calls of legacy clients: ids, cancellation, questions, and bytes.

use std::time::Duration;

use mcp_gateway::Gateway;
use mcp_pooled_tools::{ConnectionManager, PoolSettings, ServerConfig, Sharing};
use mcp_testkit::{
    Era, TestServer,
    process::wait_until,
    scripted_http::{Answer, Live, ScriptedHttp},
};
use serde_json::{Value, json};

use crate::common::{
    LONG, Served, manager, over_http,
    raw::{Events, Legacy, is_json, modern},
};

#[tokio::test]
async fn pain_52_a_response_that_is_alone_is_plain_json() {
    let served = Served::start(Gateway::builder(manager(&TestServer::new()).await)).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let response = client.call(7, "test__echo", json!({"message": "hi"})).await;
    assert!(is_json(response.headers()));
    // Its length is known, so that it is not sent in chunks.
    let length = response.headers()["content-length"].to_str().unwrap();
    let length: usize = length.parse().unwrap();
    let response = response.bytes().await.unwrap();
    assert_eq!(response.len(), length);
    let response: Value = serde_json::from_slice(&response).unwrap();
    assert_eq!(response["id"], 7);
    served.stop().await;
}

#[tokio::test]
async fn pain_36_equal_ids_of_two_clients_do_not_meet_and_a_cancel_reaches_the_server() {
    let server = TestServer::new();
    let served = Served::start(Gateway::builder(manager(&server).await)).await;
    let one = Legacy::open(&served.url(), json!({})).await;
    let other = Legacy::open(&served.url(), json!({})).await;

    let cancelled = tokio::spawn({
        let one = one.clone();
        async move { one.call(5, "test__sleep", json!({"ms": 20_000})).await }
    });
    let kept = tokio::spawn({
        let other = other.clone();
        async move { other.call(5, "test__sleep", json!({"ms": 1_000})).await }
    });
    assert!(wait_until(LONG, || server.calls_of("sleep") == 2).await);
    one.notify("notifications/cancelled", json!({"requestId": 5}))
        .await;
    assert!(
        wait_until(LONG, || server.cancelled() == 1).await,
        "under the server's own id"
    );
    let cancelled = cancelled.await.unwrap();
    assert_eq!(
        cancelled.text().await.unwrap(),
        "",
        "no response to a cancelled request"
    );
    let kept: Value = kept.await.unwrap().json().await.unwrap();
    assert_eq!(kept["result"]["content"][0]["text"], "slept 1000 ms");
    served.stop().await;
}

#[tokio::test]
async fn a_request_under_an_id_that_is_in_use_is_refused() {
    let server = TestServer::new();
    let served = Served::start(Gateway::builder(manager(&server).await)).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.call(1, "test__sleep", json!({"ms": 500})).await }
    });
    assert!(wait_until(LONG, || server.calls_of("sleep") == 1).await);
    let second: Value = client
        .call(1, "test__echo", json!({"message": "a"}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(second["error"]["code"], -32600);
    assert_eq!(second["error"]["data"]["source"], "mcp-pool");
    assert_eq!(first.await.unwrap().status(), 200);
    served.stop().await;
}

#[tokio::test]
async fn a_legacy_client_that_disconnects_does_not_cancel_and_one_that_ends_its_session_does() {
    let server = TestServer::new();
    let served = Served::start(Gateway::builder(manager(&server).await)).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call(1, "test__sleep", json!({"ms": 20_000})).await }
    });
    assert!(wait_until(LONG, || server.calls_of("sleep") == 1).await);
    call.abort();
    // The connection is closed by now; a cancellation would follow at once.
    let _ = call.await;
    client.send(2, "ping", json!({})).await;
    assert_eq!(server.cancelled(), 0);
    let delete = client
        .http
        .delete(&client.url)
        .header("mcp-session-id", &client.session);
    assert_eq!(delete.send().await.unwrap().status(), 204);
    assert!(wait_until(LONG, || server.cancelled() == 1).await);
    served.stop().await;
}

#[tokio::test]
async fn a_modern_client_that_disconnects_cancels() {
    let server = TestServer::new();
    let served = Served::start(Gateway::builder(manager(&server).await)).await;
    let url = served.url();
    let call = tokio::spawn(async move {
        let http = reqwest::Client::new();
        let params = json!({"name": "test__sleep", "arguments": {"ms": 20_000}});
        modern(&http, &url, 1, "tools/call", params).await
    });
    assert!(wait_until(LONG, || server.calls_of("sleep") == 1).await);
    call.abort();
    assert!(wait_until(LONG, || server.cancelled() == 1).await);
    served.stop().await;
}

#[tokio::test]
async fn pain_33_questions_of_two_clients_reach_the_one_whose_call_caused_them() {
    let (_server, manager) = over_http(Era::Legacy).await;
    let served = Served::start(Gateway::builder(manager)).await;
    let ask = |name: &'static str, url: String| async move {
        let client = Legacy::open(&url, json!({"elicitation": {"form": {}}})).await;
        for id in 1..=20 {
            let response = client
                .call(id, "test__ask", json!({"what": ["elicitation"]}))
                .await;
            let mut events = Events::of(response);
            let question = events.next().await.unwrap();
            assert_eq!(question["method"], "elicitation/create");
            let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result":
                {"action": "accept", "content": {"name": name}}});
            let sent = client.post().json(&answer).send().await.unwrap();
            assert_eq!(sent.status(), 202);
            let result = events.next().await.unwrap();
            assert_eq!(result["id"], id);
            let said = result["result"]["content"][0]["text"].as_str().unwrap();
            assert_eq!(said, json!({"elicitation": name}).to_string());
            assert!(
                events.next().await.is_none(),
                "the response is the end of its stream"
            );
        }
    };
    let both = async { tokio::join!(ask("ann", served.url()), ask("ben", served.url())) };
    tokio::time::timeout(LONG, both).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_cannot_be_asked_declines() {
    let (_server, manager) = over_http(Era::Legacy).await;
    let served = Served::start(Gateway::builder(manager)).await;
    let client = Legacy::open(&served.url(), json!({"roots": {}})).await;
    let response = client
        .call(1, "test__ask", json!({"what": ["elicitation"]}))
        .await;
    let result: Value = response.json().await.unwrap();
    let said = result["result"]["content"][0]["text"].as_str().unwrap();
    assert_eq!(said, r#"{"elicitation":"declined"}"#);
    served.stop().await;
}

#[tokio::test]
async fn pain_34_results_and_errors_pass_as_the_server_wrote_them() {
    const RESULT: &str = r#"{"content":[{"type":"hologram","n":1.50,"x":{"b":1,"a":[null]}}], "odd" : "\u00e9","_meta":{"z":1,"a":2},"isError":false}"#;
    let server = ScriptedHttp::start(|asked| {
        (asked.method() == "tools/call").then(|| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{RESULT}}}"#,
                asked.id()
            );
            Answer::new(200, "application/json").bytes(text)
        })
    })
    .await;
    let manager = ConnectionManager::builder()
        .server("test", ServerConfig::http(server.url()))
        .defaults(PoolSettings::new().min_connections(0))
        .build()
        .await
        .unwrap();
    let served = Served::start(Gateway::builder(manager)).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let response = client.call(1, "test__echo", json!({"message": "a"})).await;
    let text = response.text().await.unwrap();
    assert_eq!(
        text,
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{RESULT}}}"#)
    );
    served.stop().await;
}

#[tokio::test]
async fn one_server_is_served_with_its_own_names_and_an_unknown_one_is_404() {
    let gateway =
        Gateway::builder(manager(&TestServer::new()).await).profile("some", ["mcp.test.echo"]);
    let served = Served::start(gateway).await;
    let one = Legacy::open(&format!("{}/s/test", served.url()), json!({})).await;
    let echoed: Value = one
        .call(1, "echo", json!({"message": "a"}))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(echoed["result"]["content"][0]["text"], "a");
    let some = Legacy::open(&format!("{}/p/some", served.url()), json!({})).await;
    let listed: Value = some
        .send(1, "tools/list", json!({}))
        .await
        .json()
        .await
        .unwrap();
    let names: Vec<_> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| &tool["name"])
        .collect();
    assert_eq!(names, ["test__echo"]);
    let unknown = client_post(&format!("{}/s/other", served.url())).await;
    assert_eq!(unknown, 404);
    served.stop().await;
}

async fn client_post(url: &str) -> u16 {
    let posted = reqwest::Client::new()
        .post(url)
        .body("{}")
        .send()
        .await
        .unwrap();
    posted.status().as_u16()
}

#[tokio::test]
async fn calls_in_flight_at_the_end_are_answered_and_those_that_take_too_long_get_an_error_that_says_so()
 {
    let server = TestServer::new();
    let gateway = Gateway::builder(manager(&server).await).grace(Duration::from_millis(1_500));
    let mut served = Served::start(gateway).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let calls = [(1, 300), (2, 20_000)].map(|(id, ms)| {
        let client = client.clone();
        tokio::spawn(async move {
            let response = client.call(id, "test__sleep", json!({"ms": ms})).await;
            response.json::<Value>().await.unwrap()
        })
    });
    assert!(wait_until(LONG, || server.calls_of("sleep") == 2).await);
    served.end();
    let [short, long] = calls;
    assert_eq!(
        short.await.unwrap()["result"]["content"][0]["text"],
        "slept 300 ms"
    );
    let error = &long.await.unwrap()["error"];
    assert_eq!(error["data"]["phase"], "shutdown");
    served.stop().await;
}

#[tokio::test]
async fn pain_54_a_client_that_can_be_asked_makes_its_calls_side_by_side() {
    let (server, manager) = over_http(Era::Legacy).await;
    let served = Served::start(Gateway::builder(manager)).await;
    let client = Legacy::open(&served.url(), json!({"elicitation": {}, "roots": {}})).await;
    let calls: Vec<_> = (0..6)
        .map(|id| {
            let client = client.clone();
            tokio::spawn(async move { client.call(id, "test__sleep", json!({"ms": 20_000})).await })
        })
        .collect();
    assert!(wait_until(LONG, || server.server().calls_of("sleep") == 6).await);
    for call in calls {
        call.abort();
    }
    client
        .http
        .delete(&client.url)
        .header("mcp-session-id", &client.session)
        .send()
        .await
        .unwrap();
    served.stop().await;
}

#[tokio::test]
async fn log_messages_of_a_call_reach_its_client_from_the_level_that_it_set() {
    let (_server, manager) = over_http(Era::Legacy).await;
    let served = Served::start(Gateway::builder(manager)).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let mut events = Events::of(
        client
            .call(1, "test__log", json!({"message": "hear"}))
            .await,
    );
    let log = events.next().await.unwrap();
    assert_eq!(
        (&log["method"], &log["params"]["data"]),
        (&json!("notifications/message"), &json!("hear"))
    );
    client
        .send(2, "logging/setLevel", json!({"level": "error"}))
        .await;
    let response = client.call(3, "test__log", json!({"message": "not"})).await;
    assert!(
        is_json(response.headers()),
        "an info message is less than an error"
    );
    served.stop().await;
}

#[tokio::test]
async fn unknown_fields_of_an_answer_and_the_end_of_an_elicitation_are_passed_on() {
    let live = Live::new();
    let server = ScriptedHttp::start({
        let live = live.clone();
        move |asked| {
            if asked.method() == "tools/call" {
                let question = json!({"jsonrpc": "2.0", "id": 77, "method": "elicitation/create", "params": {
                    "mode": "url", "message": "Sign in.", "url": "https://id.test", "elicitationId": "e"}});
                let done = json!({"jsonrpc": "2.0", "method": "notifications/elicitation/complete",
                    "params": {"elicitationId": "e"}});
                let answer = Answer::events().event(&question).event(&done);
                return Some(answer.live(&live));
            }
            let is_answer = asked.body["id"] == 77;
            is_answer.then(|| Answer::status(202, ""))
        }
    })
    .await;
    let settings = PoolSettings::new().retry_attempts(0).min_connections(0);
    let manager = ConnectionManager::builder()
        .server("test", ServerConfig::http(server.url()))
        .defaults(settings.sharing(Sharing::Pinned))
        .build()
        .await
        .unwrap();
    let served = Served::start(Gateway::builder(manager)).await;
    let client = Legacy::open(&served.url(), json!({"elicitation": {"url": {}}})).await;
    let mut events = Events::of(client.call(1, "test__echo", json!({"message": "a"})).await);
    let mut next = async || events.next().await.unwrap();
    let [one, two] = [next().await, next().await];
    let (question, done) = match one["id"].is_null() {
        true => (two, one),
        false => (one, two),
    };
    assert_eq!(done["method"], "notifications/elicitation/complete");
    assert_eq!(done["params"]["elicitationId"], "e");
    let result = json!({"action": "accept", "odd": [1]});
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
    client.post().json(&answer).send().await.unwrap();
    let answered = || {
        server
            .asked()
            .iter()
            .any(|asked| asked.body["result"] == result)
    };
    assert!(wait_until(LONG, answered).await, "{:?}", server.asked());
    // Ends the call, which its server does not.
    let delete = client.http.delete(&client.url);
    let delete = delete.header("mcp-session-id", &client.session);
    delete.send().await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn log_messages_of_a_modern_server_reach_the_call_of_a_modern_client_that_wants_them() {
    let (_server, manager) = over_http(Era::Modern).await;
    let served = Served::start(Gateway::builder(manager)).await;
    let http = reqwest::Client::new();
    let params = json!({"name": "test__log", "arguments": {"message": "hear"},
        "_meta": {"io.modelcontextprotocol/logLevel": "debug"}});
    let response = modern(&http, &served.url(), 1, "tools/call", params).await;
    let mut events = Events::of(response);
    let log = events.next().await.unwrap();
    assert_eq!(
        (&log["method"], &log["params"]["data"]),
        (&json!("notifications/message"), &json!("hear"))
    );
    let plain = json!({"name": "test__log", "arguments": {"message": "not"}});
    let response = modern(&http, &served.url(), 2, "tools/call", plain).await;
    assert!(is_json(response.headers()), "none were asked for");
    served.stop().await;
}
