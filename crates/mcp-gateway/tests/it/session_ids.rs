//! Session ids: they outlive the process, and belong to their principal.

use std::time::Duration;

use axum::{Extension, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use mcp_gateway::{Gateway, Keys, Principal, PrincipalKind};
use mcp_pooled_tools::{
    AggregatorSettings, ConnectionManager, PoolSettings, Sharing,
    core::connect::in_process::InProcess,
};
use mcp_testkit::{Era, Faults, Hang, TestServer};
use reqwest::RequestBuilder;
use serde_json::json;
use tower::ServiceExt as _;

use crate::common::{
    LONG, Served,
    edge::{self, ANN, BEN, two_tokens},
    manager, over_http,
    raw::{self, Events, Legacy, is_json, modern},
};

#[tokio::test]
async fn pain_31_another_process_with_the_same_key_goes_on_with_the_session() {
    let server = TestServer::new();
    let keys = Keys::random();
    let first = Served::start(Gateway::builder(manager(&server).await).keys(keys.clone())).await;
    let mut client = Legacy::open(&first.url(), json!({})).await;
    let before = client.call(1, "test__echo", json!({"message": "a"})).await;
    assert_eq!(before.status(), 200);
    first.stop().await;

    let second = Served::start(Gateway::builder(manager(&server).await).keys(keys)).await;
    client.url = second.url();
    let after = client.call(2, "test__echo", json!({"message": "b"})).await;
    assert_eq!(after.status(), 200);
    let after: serde_json::Value = after.json().await.unwrap();
    assert_eq!(after["result"]["content"][0]["text"], "b");
    second.stop().await;
}

#[tokio::test]
async fn pain_29_a_session_goes_on_in_another_process_and_the_state_of_a_pinned_server_is_missed_once()
 {
    let (_server, manager) = over_http(Era::Legacy).await;
    let keys = Keys::random();
    let first = Gateway::builder(manager.clone())
        .keys(keys.clone())
        .build()
        .unwrap();
    let id = open(&first, &Principal::local()).await;
    let second = Served::start(Gateway::builder(manager).keys(keys)).await;
    let client = Legacy {
        http: reqwest::Client::new(),
        url: second.url(),
        session: id,
    };
    let mut events = Events::of(client.call(1, "test__echo", json!({"message": "a"})).await);
    let notice = events.next().await.unwrap();
    assert_eq!(
        (&notice["method"], &notice["params"]["level"]),
        (&json!("notifications/message"), &json!("warning"))
    );
    assert_eq!(
        events.next().await.unwrap()["result"]["content"][0]["text"],
        "a"
    );
    let next = client.call(2, "test__echo", json!({"message": "b"})).await;
    assert!(is_json(next.headers()), "it is said once");
    second.stop().await;
}

/// The answer to a ping with this id, at this path, as this principal.
async fn ping(
    gateway: &Gateway,
    principal: &Principal,
    path: &str,
    id: &str,
) -> (StatusCode, Vec<u8>) {
    let request = Request::post(path)
        .header("mcp-session-id", id)
        .body(Body::from(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#))
        .unwrap();
    let router = gateway.router().layer(Extension(principal.clone()));
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    (
        status,
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .into(),
    )
}

async fn open(gateway: &Gateway, principal: &Principal) -> String {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"},
    }});
    let request = Request::post("/mcp")
        .body(Body::from(body.to_string()))
        .unwrap();
    let router = gateway.router().layer(Extension(principal.clone()));
    let response = router.oneshot(request).await.unwrap();
    response.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn pain_41_a_foreign_a_forged_an_expired_and_an_ended_id_are_the_same_404() {
    let manager = manager(&TestServer::new()).await;
    let keys = Keys::random();
    let gateway = Gateway::builder(manager.clone())
        .keys(keys.clone())
        .build()
        .unwrap();
    let ann = Principal::new(PrincipalKind::Token, "ann");
    let ben = Principal::new(PrincipalKind::Token, "ben");
    let id = open(&gateway, &ann).await;
    assert_eq!(ping(&gateway, &ann, "/mcp", &id).await.0, 200);

    let foreign = ping(&gateway, &ben, "/mcp", &id).await;
    assert_eq!(foreign.0, 404);
    let same_name = Principal::new(PrincipalKind::Jwt, "ann");
    assert_eq!(ping(&gateway, &same_name, "/mcp", &id).await, foreign);
    assert_eq!(
        ping(&gateway, &ann, "/mcp/s/test", &id).await,
        foreign,
        "of another address"
    );
    // In the middle: the last character may hold few bits, and be the same.
    let (head, tail) = id.split_at(id.len() / 2);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}{other}{}", &tail[1..]);
    assert_eq!(ping(&gateway, &ann, "/mcp", &forged).await, foreign);
    assert_eq!(ping(&gateway, &ann, "/mcp", "nonsense").await, foreign);
    let moved = id.replacen("r0.", "r1.", 1);
    assert_eq!(ping(&gateway, &ann, "/mcp", &moved).await, foreign);

    let young = Gateway::builder(manager)
        .keys(keys)
        .max_session_age(Duration::ZERO);
    let young = young.build().unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await; // the age is in whole seconds
    assert_eq!(ping(&young, &ann, "/mcp", &id).await, foreign, "too old");

    let delete = Request::delete("/mcp")
        .header("mcp-session-id", &id)
        .body(Body::empty())
        .unwrap();
    let router = gateway.router().layer(Extension(ann.clone()));
    assert_eq!(router.oneshot(delete).await.unwrap().status(), 204);
    assert_eq!(ping(&gateway, &ann, "/mcp", &id).await, foreign, "ended");
}

/// A response, but for its date.
async fn seen(request: RequestBuilder) -> (StatusCode, HeaderMap, Bytes) {
    let response = request.send().await.unwrap();
    let (status, mut headers) = (response.status(), response.headers().clone());
    headers.remove("date");
    (status, headers, response.bytes().await.unwrap())
}

#[tokio::test]
async fn pain_41_an_id_with_another_token_an_expired_and_a_forged_one_are_the_same_404_and_audited()
{
    let folder = tempfile::tempdir().unwrap();
    let (keys, server) = (Keys::random(), TestServer::new());
    let log = |name: &str| folder.path().join(name);
    let start = async |name: &str, max_age: Duration| {
        let settings = json!({ "tokens": two_tokens(), "audit_file": log(name) });
        let gateway = Gateway::builder(edge::manager(&server, settings).await);
        Served::start(gateway.keys(keys.clone()).max_session_age(max_age)).await
    };
    let gateway = start("old", Duration::from_secs(3_600)).await;
    let young = start("young", Duration::ZERO).await;
    let http = reqwest::Client::new();
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "a", "version": "1" },
    });
    let opened = raw::post(&http, &gateway.url())
        .bearer_auth(ANN)
        .json(&raw::request(0, "initialize", params));
    let opened = opened.send().await.unwrap();
    let id = opened.headers()["mcp-session-id"].to_str().unwrap();
    let (head, tail) = id.split_at(id.len() / 2);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}{other}{}", &tail[1..]);
    tokio::time::sleep(Duration::from_millis(1_100)).await; // the age is in whole seconds

    let mut verbs = Vec::new();
    for verb in [Method::POST, Method::GET, Method::DELETE] {
        let mut all = Vec::new();
        for (at, token, id) in [
            (&gateway, BEN, id),
            (&young, ANN, id),
            (&gateway, ANN, &*forged),
            (&gateway, ANN, "r0.nonsense"),
        ] {
            let mut asked = http
                .request(verb.clone(), at.url())
                .header("accept", "application/json, text/event-stream")
                .header("mcp-session-id", id)
                .bearer_auth(token);
            if verb == Method::POST {
                asked = asked.json(&raw::request(1, "ping", json!({})));
            }
            all.push(seen(asked).await);
        }
        assert_eq!(all[0].0, StatusCode::NOT_FOUND, "{verb}");
        assert!(all.iter().all(|one| *one == all[0]), "{verb}: {all:?}");
        verbs.push(all.swap_remove(0));
    }
    assert!(verbs.iter().all(|one| *one == verbs[0]), "{verbs:?}");
    let owned = raw::post(&http, &gateway.url())
        .bearer_auth(ANN)
        .header("mcp-session-id", id)
        .json(&raw::request(2, "ping", json!({})));
    assert_eq!(seen(owned).await.0, StatusCode::OK, "it is still good");
    gateway.stop().await;
    young.stop().await;

    for (name, by_ann, by_ben) in [("old", 6, 3), ("young", 3, 0)] {
        let text = std::fs::read_to_string(log(name)).unwrap();
        let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
        let unknown = lines
            .map(Result::unwrap)
            .filter(|line| line["event"] == "session" && line["outcome"] == "unknown");
        let by: Vec<_> = unknown.map(|line| line["principal"].clone()).collect();
        let count = |principal: &str| by.iter().filter(|by| *by == principal).count();
        let counts = (count("token:ann"), count("token:ben"), by.len());
        assert_eq!(counts, (by_ann, by_ben, by_ann + by_ben), "{name}: {text}");
    }
}

#[tokio::test]
async fn a_session_that_was_only_initialized_costs_nothing() {
    let gateway = Gateway::builder(manager(&TestServer::new()).await)
        .max_sessions(2, 2)
        .build()
        .unwrap();
    let ann = Principal::local();
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(open(&gateway, &ann).await);
    }
    assert_eq!(ping(&gateway, &ann, "/mcp", &ids[0]).await.0, 200);
    assert_eq!(ping(&gateway, &ann, "/mcp", &ids[9]).await.0, 200);
}

#[tokio::test]
async fn pain_42_sessions_in_use_are_limited_for_each_principal_and_in_all() {
    let gateway = Gateway::builder(manager(&TestServer::new()).await)
        .max_sessions(1, 2)
        .build()
        .unwrap();
    let [ann, ben, eve] =
        ["ann", "ben", "eve"].map(|name| Principal::new(PrincipalKind::Token, name));
    let (first, second) = (open(&gateway, &ann).await, open(&gateway, &ann).await);
    assert_eq!(ping(&gateway, &ann, "/mcp", &first).await.0, 200);
    assert_eq!(ping(&gateway, &ann, "/mcp", &second).await.0, 429);
    let of_ben = open(&gateway, &ben).await;
    assert_eq!(
        ping(&gateway, &ben, "/mcp", &of_ben).await.0,
        200,
        "another principal has its own"
    );
    let of_eve = open(&gateway, &eve).await;
    assert_eq!(ping(&gateway, &eve, "/mcp", &of_eve).await.0, 503);
}

#[tokio::test]
async fn a_session_whose_stream_has_ended_gives_way_however_short_it_is_idle() {
    let gateway = Gateway::builder(manager(&TestServer::new()).await)
        .max_sessions(1, 2)
        .build()
        .unwrap();
    let ann = Principal::new(PrincipalKind::Token, "ann");
    let (first, second) = (open(&gateway, &ann).await, open(&gateway, &ann).await);
    let listen = Request::get("/mcp")
        .header("mcp-session-id", &first)
        .body(Body::empty())
        .unwrap();
    let router = gateway.router().layer(Extension(ann.clone()));
    let stream = router.oneshot(listen).await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(ping(&gateway, &ann, "/mcp", &second).await.0, 429);
    drop(stream);
    assert_eq!(ping(&gateway, &ann, "/mcp", &second).await.0, 200);
    assert_eq!(
        ping(&gateway, &ann, "/mcp", &first).await.0,
        429,
        "the second may be there"
    );
}

#[tokio::test]
async fn pain_30_an_idle_session_ends_and_a_silent_call_is_not_idle() {
    let server = TestServer::new();
    let limit = Duration::from_millis(200);
    let gateway = Gateway::builder(manager(&server).await).session_idle_timeout(limit);
    let served = Served::start(gateway).await;
    let client = Legacy::open(&served.url(), json!({})).await;
    let call = client.call(1, "test__sleep", json!({"ms": 1_500})).await;
    let result: serde_json::Value = call.json().await.unwrap();
    assert_eq!(result["result"]["content"][0]["text"], "slept 1500 ms");
    tokio::time::sleep(limit * 4).await;
    assert_eq!(client.send(2, "ping", json!({})).await.status(), 404);
    served.stop().await;
}

#[tokio::test]
async fn pain_53_initialize_is_answered_while_a_server_never_is() {
    let manager = ConnectionManager::builder()
        .aggregator(AggregatorSettings::new().list_timeout(LONG * 3))
        .connector(
            "test",
            InProcess::new(|| {
                TestServer::with_faults(Faults {
                    hang: Some(Hang::BeforeHandshake),
                    ..Faults::default()
                })
            }),
            PoolSettings::new().min_connections(0),
        )
        .build()
        .await
        .unwrap();
    let gateway = Gateway::builder(manager).build().unwrap();
    // It is answered while the list of tools is still waited for.
    let opened = tokio::time::timeout(LONG, open(&gateway, &Principal::local())).await;
    assert!(!opened.unwrap().is_empty());
}

#[tokio::test]
async fn a_lost_state_is_noticed_by_whatever_name_and_in_either_era() {
    let connector = InProcess::new(TestServer::new);
    let settings = PoolSettings::new().retry_attempts(0).min_connections(0);
    let manager = ConnectionManager::builder()
        .connector("test", connector, settings.sharing(Sharing::Pinned))
        .build()
        .await
        .unwrap();
    let keys = Keys::random();
    let first = Gateway::builder(manager.clone())
        .keys(keys.clone())
        .build()
        .unwrap();
    let session = open(&first, &Principal::local()).await;
    let second = Gateway::builder(manager)
        .keys(keys)
        .session_idle_timeout(Duration::from_millis(50));
    let second = Served::start(second).await;
    let (http, url) = (reqwest::Client::new(), second.url());
    let legacy = Legacy {
        http: http.clone(),
        url: url.clone(),
        session,
    };
    let called = legacy
        .call(1, "mcp.test.echo", json!({"message": "a"}))
        .await;
    let notice = Events::of(called).next().await.unwrap();
    assert_eq!(notice["method"], "notifications/message", "{notice}");

    // The session of a modern client ends when it rests, and its state with it.
    let call = async || -> serde_json::Value {
        let params = json!({"name": "mcp.test.echo", "arguments": {"message": "a"}});
        let called = modern(&http, &url, 1, "tools/call", params).await;
        called.json().await.unwrap()
    };
    let lost =
        |called: &serde_json::Value| called["result"]["_meta"]["mcp-pool/state-lost"].clone();
    assert_eq!(lost(&call().await), json!(null), "nothing yet");
    let noticed = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let lost = lost(&call().await);
            if !lost.is_null() {
                return lost;
            }
        }
    };
    let lost = tokio::time::timeout(LONG, noticed).await.unwrap();
    assert!(lost.as_str().unwrap().contains("server `test`"), "{lost}");
    second.stop().await;
}
