//! What the audit says of each call.

use std::path::Path;

use mcp_testkit::TestServer;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::common::edge::{ANN, BEN, call, request, served, two_tokens};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

#[tokio::test]
async fn the_audit_has_a_line_for_each_call_with_the_real_name_and_no_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let settings = json!({
        "tokens": two_tokens(), "audit_file": path, "allow": { "ben": [] },
    });
    let gateway = served(&TestServer::new(), settings).await;
    let secret = json!({ "message": "a secret of ann" });
    let meta = json!({ "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" });
    let params = json!({ "name": "test__echo", "arguments": secret, "_meta": meta });
    let sent = request(&gateway, ANN, "tools/call", params)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status(), StatusCode::OK);
    call(&gateway, BEN, "test__echo", json!({})).await;
    call(&gateway, ANN, "no_such_tool", json!({})).await;
    let http = reqwest::Client::new();
    let foreign = crate::common::raw::post(&http, &gateway.url())
        .bearer_auth(BEN)
        .header("mcp-session-id", "r0.forged");
    let foreign = foreign
        .json(&crate::common::raw::request(1, "ping", json!({})))
        .send()
        .await
        .unwrap();
    assert_eq!(foreign.status(), StatusCode::NOT_FOUND);
    gateway.stop().await;

    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let lines = lines(&path);
    let outcomes: Vec<_> = lines
        .iter()
        .map(|line| line["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(&outcomes[..3], ["ok", "refused", "error"], "{text}");
    assert_eq!(outcomes.last(), Some(&"unknown"), "{text}");
    let ok = &lines[0];
    for (name, value) in [
        ("event", "call"),
        ("principal", "token:ann"),
        ("client", "raw"),
        ("server", "test"),
        ("tool", "echo"),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
    ] {
        assert_eq!(ok[name], value, "{ok}");
    }
    assert_eq!(ok["arguments_sha256"].as_str().unwrap().len(), 64);
    assert!(
        ok["bytes"].as_u64().unwrap() > 10 && ok["ms"].is_u64(),
        "{ok}"
    );
    assert!(ok["time"].as_str().unwrap().ends_with('Z'), "{ok}");
    assert!(
        lines[1]["error"].as_str().unwrap().contains("not allowed"),
        "{text}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn the_audit_has_arguments_where_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let settings = json!({ "audit_file": path, "audit_arguments": true });
    let gateway = served(&TestServer::new(), settings).await;
    call(
        &gateway,
        "of no consequence",
        "test__echo",
        json!({ "message": "hi" }),
    )
    .await;
    gateway.stop().await;
    let line = &lines(&path)[0];
    assert_eq!(line["arguments"], json!({ "message": "hi" }));
    assert_eq!(line["principal"], "local");
}
