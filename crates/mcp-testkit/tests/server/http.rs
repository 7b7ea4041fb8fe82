//! The server over HTTP, in both eras.

use std::process::Stdio;

use mcp_testkit::{Era, process::wait_until};
use rmcp::{
    model::{CallToolRequestParams, ErrorCode},
    service::ClientServiceExt,
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    support::{A_WHILE, SOON, auto, call, command, discover, initialize, text},
    web::{open, post_modern, start_as},
};

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
