//! Results that are not of their type: the error names the field, and what can be read is handed over.

use crate::common;
use common::{manager, text};
use mcp_pooled_tools::{ConnectionManager, ErrorKind, PoolSettings, PooledTools, ServerConfig};
use mcp_testkit::scripted_http::{Answer, ScriptedHttp};
use rmcp::{
    model::{CallToolRequest, CallToolRequestParams, ClientRequest, ServerResult},
    service::PeerRequestOptions,
};
use serde_json::{Value, json};

/// A server that answers requests of a method with this result, and all else as it should.
async fn answering(
    method: &'static str,
    result: Value,
) -> (ScriptedHttp, ConnectionManager, PooledTools) {
    let server = ScriptedHttp::start(move |asked| {
        let reply = || Answer::json(200, &asked.reply(result.clone()));
        (asked.method() == method).then(reply)
    })
    .await;
    let manager = manager(ServerConfig::http(server.url()), PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    (server, manager, tools)
}

#[tokio::test]
async fn a_list_that_is_none_is_an_error_that_names_the_field() {
    let echo = json!({"name": "echo", "inputSchema": {}});
    for (result, reason) in [
        (json!({}), "`tools` is missing"),
        (
            json!({"tools": {"echo": echo}}),
            "`tools`: it is an object, not an array",
        ),
        (json!({"tools": 1}), "`tools`: it is a number, not an array"),
        (json!([echo]), "it is an array, not an object"),
    ] {
        let (_server, manager, tools) = answering("tools/list", result).await;
        let all = tools.list_all_tools().await.unwrap_err();
        let page = tools.list_tools(None).await.unwrap_err();
        for error in [all, page] {
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
            let message = error.to_string();
            assert!(message.contains("`tools/list`"), "{message}");
            assert!(message.contains(reason), "{message}");
        }
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_result_of_an_unknown_type_is_an_error_that_names_the_field() {
    let result = json!({"content": [{"type": "text", "text": "ok"}], "resultType": "final"});
    let (_server, manager, tools) = answering("tools/call", result).await;
    let error = tools.call("echo", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    let message = error.to_string();
    assert!(
        message.contains("`resultType` is unknown: final"),
        "{message}"
    );
    manager.shutdown().await;
}

#[tokio::test]
async fn a_result_without_content_is_handed_over_as_the_server_wrote_it() {
    for result in [
        json!({"toolResult": {"content": [{"type": "text", "text": "old"}]}}),
        json!({"success": true, "configs": []}),
    ] {
        let (_server, manager, tools) = answering("tools/call", result.clone()).await;
        let answer = tools.call("echo", json!({})).await.unwrap();
        let parsed: Value = serde_json::from_str(&text(&answer)).unwrap();
        assert_eq!(parsed, result);
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_request_with_a_handle_loses_nothing_of_its_result() {
    let result = json!({"content": [{"type": "hologram"}], "unknown": {"a": [null, 1.5]}});
    let (_server, manager, tools) = answering("tools/call", result.clone()).await;
    let request: ClientRequest = CallToolRequest::new(CallToolRequestParams::new("echo")).into();
    let options = PeerRequestOptions::no_options();
    let pending = tools.send_cancellable_request(request, options).await;
    let reply = pending.unwrap().await_reply().await.unwrap();
    let raw: Value = serde_json::from_str(reply.raw().get()).unwrap();
    assert_eq!(raw, result);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_request_with_a_handle_hands_unknown_content_over_as_text() {
    let result = json!({"content": [{"type": "hologram"}, {"type": "text", "text": "kept"}]});
    let (_server, manager, tools) = answering("tools/call", result).await;
    let request: ClientRequest = CallToolRequest::new(CallToolRequestParams::new("echo")).into();
    let options = PeerRequestOptions::no_options();
    let pending = tools.send_cancellable_request(request, options).await;
    let ServerResult::CallToolResult(result) = pending.unwrap().await_response().await.unwrap()
    else {
        panic!("no result of a tool");
    };
    assert_eq!(text(&result), r#"{"type":"hologram"}kept"#);
    manager.shutdown().await;
}
