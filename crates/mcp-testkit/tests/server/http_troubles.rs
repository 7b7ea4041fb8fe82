//! What can go wrong over HTTP, before the protocol is reached.

use std::time::Duration;

use mcp_testkit::{Era, Faults, Hang, HttpOptions, HttpServer, TestServer};
use reqwest::StatusCode;
use rmcp::{
    service::ClientServiceExt,
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    support::{A_WHILE, SOON, auto, call, discover, initialize},
    web::{list, open, post, raw_session, request_by, start_as},
};

#[tokio::test]
async fn a_restart_keeps_the_port_and_forgets_the_sessions() {
    let mut server = start_as(Era::Legacy).await;
    let url = server.url();
    let session = raw_session(&url).await;
    assert_eq!(post(&url, Some(&session), list()).await.0, StatusCode::OK);

    server.stop().await;
    assert!(reqwest::get(&url).await.unwrap_err().is_connect());

    server.restart().await;
    assert_eq!(server.url(), url);
    assert_eq!(
        post(&url, Some(&session), list()).await.0,
        StatusCode::NOT_FOUND
    );
    let renewed = raw_session(&url).await;
    assert_eq!(post(&url, Some(&renewed), list()).await.0, StatusCode::OK);
    assert_eq!(server.server().initializations(), 2);
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_call_cuts_it() {
    let mut server = start_as(Era::Modern).await;
    let client = open(&server, discover()).await.unwrap();
    let sleeping = call(&client, "sleep", json!({"ms": 3_600_000}));
    tokio::pin!(sleeping);
    assert!(tokio::time::timeout(A_WHILE, &mut sleeping).await.is_err());
    tokio::time::timeout(SOON, server.stop())
        .await
        .expect("stop does not wait for clients");
    assert!(sleeping.await.is_err());
}

#[tokio::test]
async fn a_cut_drops_the_connections_but_not_the_sessions() {
    let server = start_as(Era::Legacy).await;
    let session = raw_session(&server.url()).await;
    let before = server.connections();
    server.cut().await;
    assert_eq!(
        post(&server.url(), Some(&session), list()).await.0,
        StatusCode::OK
    );
    assert!(server.connections() > before);
}

#[tokio::test]
async fn connections_and_posts_are_counted() {
    let server = start_as(Era::Modern).await;
    let client = reqwest::Client::new();
    for _ in 0..3 {
        let answer = client.post(server.url()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_ACCEPTABLE);
        answer.bytes().await.unwrap();
    }
    assert_eq!(
        (server.connections(), server.posts(), server.requests()),
        (1, 3, 3)
    );
}

/// The kernel acknowledges at once while a connection is young, so the stall shows after a few calls.
#[tokio::test]
async fn without_nodelay_replies_on_a_kept_connection_stall() {
    let mut medians = Vec::new();
    for nodelay in [true, false] {
        let server = HttpServer::start(HttpOptions {
            nodelay,
            ..HttpOptions::default()
        })
        .await;
        let session = raw_session(&server.url()).await;
        let client = reqwest::Client::builder()
            .tcp_nodelay(true)
            .build()
            .unwrap();
        let mut times = Vec::new();
        for _ in 0..30 {
            let begun = Instant::now();
            let answer = request_by(&client, &server.url())
                .header("mcp-session-id", &session)
                .json(&list())
                .send()
                .await
                .unwrap();
            answer.bytes().await.unwrap();
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        assert_eq!(server.connections(), 2);
        medians.push(times[times.len() / 2]);
    }
    assert!(medians[1] >= Duration::from_millis(35), "{medians:?}");
    assert!(medians[0] < medians[1], "{medians:?}");
}

#[tokio::test]
async fn every_request_is_answered_with_the_status_that_was_set() {
    for status in [401, 403, 404, 500] {
        let server = HttpServer::start(HttpOptions {
            status: Some(status),
            ..HttpOptions::default()
        })
        .await;
        let answer = reqwest::get(server.url()).await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(
            answer.headers().contains_key("www-authenticate"),
            status == 401
        );
        assert!(open(&server, auto()).await.is_err());
    }
}

#[tokio::test]
async fn the_first_requests_are_unavailable() {
    let server = HttpServer::start(HttpOptions {
        fail_first: 2,
        ..HttpOptions::default()
    })
    .await;
    for expected in [503, 503, 406] {
        let answer = reqwest::Client::new()
            .post(server.url())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), expected);
    }
    assert!(open(&server, auto()).await.is_ok());
}

#[tokio::test]
async fn a_bearer_token_opens_and_its_lack_does_not() {
    let server = HttpServer::start(HttpOptions {
        bearer: Some("open-sesame".into()),
        ..HttpOptions::default()
    })
    .await;
    assert!(open(&server, auto()).await.is_err());
    let config =
        StreamableHttpClientTransportConfig::with_uri(server.url()).auth_header("open-sesame");
    let transport = StreamableHttpClientTransport::from_config(config);
    let client = ().serve_with_lifecycle(transport, auto()).await.unwrap();
    assert!(
        call(&client, "echo", json!({"message": "in"}))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_server_that_hangs_after_the_handshake_hangs_over_http_too() {
    for lifecycle in [initialize(), discover()] {
        let server = HttpServer::start(HttpOptions {
            server: TestServer::with_faults(Faults {
                hang: Some(Hang::AfterHandshake),
                ..Faults::default()
            }),
            ..HttpOptions::default()
        })
        .await;
        let client = open(&server, lifecycle).await.unwrap();
        let echo = call(&client, "echo", json!({"message": "?"}));
        assert!(tokio::time::timeout(A_WHILE, echo).await.is_err());
    }
}
