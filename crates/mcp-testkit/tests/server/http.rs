//! The server over HTTP, in both eras, and its troubles.

use std::{process::Stdio, time::Duration};

use mcp_testkit::{Era, Faults, Hang, HttpOptions, HttpServer, TestServer, process::wait_until};
use reqwest::StatusCode;
use rmcp::{
    model::{CallToolRequestParams, ErrorCode},
    service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt},
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::Instant,
};

use crate::support::{A_WHILE, Client, SOON, auto, call, command, discover, initialize, text};

async fn open(
    server: &HttpServer,
    lifecycle: ClientLifecycleMode,
) -> Result<Client, ClientInitializeError> {
    let transport = StreamableHttpClientTransport::from_uri(server.url());
    tokio::time::timeout(SOON, ().serve_with_lifecycle(transport, lifecycle))
        .await
        .expect("the opening hangs")
}

async fn start_as(era: Era) -> HttpServer {
    HttpServer::start(HttpOptions {
        era,
        ..HttpOptions::default()
    })
    .await
}

#[tokio::test]
async fn each_era_is_served_over_http() {
    for (era, lifecycle) in [
        (Era::Both, initialize()),
        (Era::Both, discover()),
        (Era::Both, auto()),
        (Era::Legacy, initialize()),
        (Era::Legacy, auto()),
        (Era::Modern, discover()),
        (Era::Modern, auto()),
    ] {
        let server = start_as(era).await;
        let client = open(&server, lifecycle).await.unwrap();
        let answer = call(&client, "echo", json!({"message": "hello"}))
            .await
            .unwrap();
        assert_eq!(text(&answer), "hello");
        assert_eq!(server.server().calls(), 1);
    }
}

#[tokio::test]
async fn the_other_era_is_refused_over_http() {
    assert!(
        open(&start_as(Era::Legacy).await, discover())
            .await
            .is_err()
    );
    assert!(
        open(&start_as(Era::Modern).await, initialize())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_legacy_session_has_a_number_and_ends_with_a_delete() {
    let server = start_as(Era::Legacy).await;
    for session in 1..=2 {
        let client = open(&server, initialize()).await.unwrap();
        let me = call(
            &client,
            "whoami",
            json!({"headers": ["mcp-session-id", "x-none"]}),
        )
        .await;
        let me = me.unwrap().structured_content.unwrap();
        assert_eq!(me["session"], session);
        assert!(me["headers"]["mcp-session-id"].is_string());
        assert_eq!(me["headers"]["x-none"], Value::Null);
        client.cancel().await.unwrap();
        assert!(wait_until(SOON, || server.deletes() == session).await);
    }
}

#[tokio::test]
async fn a_modern_request_stands_alone() {
    let server = start_as(Era::Modern).await;
    let client = open(&server, discover()).await.unwrap();
    let me = call(
        &client,
        "whoami",
        json!({"headers": ["mcp-method", "mcp-name"]}),
    )
    .await;
    let me = me.unwrap().structured_content.unwrap();
    assert_eq!(me["session"], Value::Null);
    assert_eq!(
        me["headers"],
        json!({"mcp-method": "tools/call", "mcp-name": "whoami"})
    );
    assert_eq!((server.gets(), server.deletes()), (0, 0));
}

#[tokio::test]
async fn a_modern_tool_may_ask_for_an_argument_in_a_header() {
    let server = start_as(Era::Modern).await;
    let client = open(&server, discover()).await.unwrap();
    let unlisted = call(&client, "located", json!({"region": "north"})).await;
    assert!(unlisted.is_err(), "rmcp sends the header only after a list");
    client.list_tools(None).await.unwrap();
    let listed = call(&client, "located", json!({"region": "north"}))
        .await
        .unwrap();
    assert_eq!(text(&listed), "north");
}

#[tokio::test]
async fn a_modern_call_whose_client_drops_it_is_interrupted() {
    let server = start_as(Era::Modern).await;
    let client = open(&server, discover()).await.unwrap();
    let arguments = json!({"ms": 3_600_000}).as_object().unwrap().clone();
    let sleep = client.call_tool(CallToolRequestParams::new("sleep").with_arguments(arguments));
    assert!(tokio::time::timeout(A_WHILE, sleep).await.is_err());
    assert!(wait_until(SOON, || !server.server().stats().interruptions.is_empty()).await);
    assert_eq!(server.server().cancelled(), 0);
}

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
        .expect("stop waits for nobody");
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

#[tokio::test]
async fn the_binary_serves_http_and_says_where() {
    let mut child = command("--http --era modern")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().unwrap();
    let transport = StreamableHttpClientTransport::from_uri(url);
    let client = ().serve_with_lifecycle(transport, auto()).await.unwrap();
    let me = call(&client, "whoami", json!({})).await.unwrap();
    assert_eq!(me.structured_content.unwrap()["pid"], child.id().unwrap());
    assert!(call(&client, "exit", json!({"code": 4})).await.is_err());
    let status = tokio::time::timeout(SOON, child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(4));
}

/// Not ours but rmcp's: what a probe over modern HTTP can expect.
#[tokio::test]
async fn a_modern_server_answers_probes_by_status_and_json_rpc_error() {
    let server = start_as(Era::Modern).await;
    let probe = |method: &'static str, meta: bool| {
        let url = server.url();
        async move {
            let meta = match meta {
                true => json!({"_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientInfo": {"name": "probe", "version": "0"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                }}),
                false => json!({}),
            };
            let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": meta});
            let (status, body) = post_modern(&url, method, request).await;
            (status.as_u16(), body["error"]["code"].as_i64())
        }
    };
    let not_found = Some(i64::from(ErrorCode::METHOD_NOT_FOUND.0));
    let invalid_params = Some(i64::from(ErrorCode::INVALID_PARAMS.0));
    assert_eq!(probe("ping", true).await, (404, not_found));
    assert_eq!(probe("testkit/unknown", true).await, (404, not_found));
    assert_eq!(probe("tools/list", true).await, (200, None));
    assert_eq!(probe("tools/list", false).await, (400, invalid_params));
    assert_eq!(probe("ping", false).await, (400, invalid_params));
    let seen = server.server();
    assert_eq!(
        (
            seen.pings(),
            seen.lists(),
            seen.requests_of("testkit/unknown")
        ),
        (2, 1, 1)
    );
}

async fn raw_session(url: &str) -> String {
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "raw", "version": "0"},
    }});
    let response = request(url).json(&initialize).send().await.unwrap();
    response.headers()["mcp-session-id"]
        .to_str()
        .unwrap()
        .to_owned()
}

fn list() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
}

async fn post(url: &str, session: Option<&str>, message: Value) -> (StatusCode, String) {
    let mut request = request(url).header("mcp-protocol-version", "2025-11-25");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    let response = request.json(&message).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

async fn post_modern(url: &str, method: &str, message: Value) -> (StatusCode, Value) {
    let response = request(url)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
        .json(&message)
        .send()
        .await
        .unwrap();
    let status = response.status();
    let body = response.text().await.unwrap();
    // A reply by event stream has its JSON on a line of its own.
    let json = body
        .lines()
        .rev()
        .map(|line| line.trim_start_matches("data:"));
    let json = json
        .filter_map(|line| serde_json::from_str(line).ok())
        .next();
    (status, json.unwrap_or(Value::Null))
}

fn request(url: &str) -> reqwest::RequestBuilder {
    request_by(&reqwest::Client::new(), url)
}

fn request_by(client: &reqwest::Client, url: &str) -> reqwest::RequestBuilder {
    client
        .post(url)
        .timeout(Duration::from_secs(5))
        .header("accept", "application/json, text/event-stream")
}
