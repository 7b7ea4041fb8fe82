//! Routing of messages: replies to their callers, notifications to their handlers.

use crate::common;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{
    call,
    handler::Keeper,
    pool_of, quiet,
    raw::{Raw, line_of, reply},
    text, within,
};
use mcp_pool_core::{RawRequest, rmcp::ServiceError};
use parking_lot::Mutex;
use serde_json::{Value, json, value::to_raw_value};

fn done(request: &Value) -> Vec<u8> {
    reply(
        request,
        &json!({"content": [{"type": "text", "text": "done"}]}),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_given_all_notifications_of_its_call_in_order_before_the_call_ends() {
    const LOGGED: usize = 100;
    let pool = pool_of(
        Raw(|request: &Value| {
            let mut bytes = Vec::new();
            for number in 0..LOGGED {
                bytes.extend(line_of(&json!({
                    "jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "info", "data": number},
                })));
            }
            bytes.extend(done(request));
            bytes
        }),
        quiet(),
    );
    for _ in 0..20 {
        let lease = within(pool.acquire()).await.unwrap();
        let keeper = Keeper::default();
        let lent = lease.lend_handler(Arc::new(keeper.clone()));
        within(call(&lease, "any", json!({}))).await.unwrap();
        within(lent.flush(common::SOON)).await;
        assert_eq!(
            keeper.take(),
            (0..LOGGED).map(Value::from).collect::<Vec<_>>()
        );
    }
    within(pool.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_those_that_a_handler_may_be_at_work_on_are_refused() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let id = Arc::new(Mutex::new(Value::Null));
    let pool = pool_of(
        Raw(move |message: &Value| {
            if message["method"] == "tools/call" {
                *id.lock() = message["id"].clone();
                let ask = |number| json!({"jsonrpc": "2.0", "id": format!("ask-{number}"), "method": "roots/list"});
                return (0..100).flat_map(|number| line_of(&ask(number))).collect();
            }
            let message_of_error = message["error"]["message"].as_str().unwrap_or_default();
            assert_eq!(message_of_error, "64 requests wait for an answer already");
            if count.fetch_add(1, Ordering::Relaxed) + 1 < 100 - 64 {
                return Vec::new();
            }
            done(&json!({"id": *id.lock()}))
        }),
        quiet(),
    );
    let lease = within(pool.acquire()).await.unwrap();
    let lent = lease.lend_handler(Arc::new(Keeper::default()));
    let answer = within(call(&lease, "any", json!({}))).await.unwrap();
    assert_eq!(text(&answer), "done");
    assert_eq!(refused.load(Ordering::Relaxed), 36);
    drop((lent, lease));
    within(pool.close()).await;
}

#[tokio::test]
async fn a_reply_that_cannot_be_decoded_ends_its_call_at_once_and_the_session_goes_on() {
    let pool = pool_of(
        Raw(|request: &Value| {
            let id = &request["id"];
            match request["params"]["name"].as_str() {
                Some("deep") => {
                    let deep = "[".repeat(150) + &"]".repeat(150);
                    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{deep}}}\n").into()
                }
                Some("nan") => {
                    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":NaN}}}}\n")
                        .into()
                }
                Some("large") => {
                    let text = "x".repeat(1024 * 1024);
                    reply(
                        request,
                        &json!({"content": [{"type": "text", "text": text}, {"type": "new"}]}),
                    )
                }
                _ => done(request),
            }
        }),
        quiet(),
    );
    let lease = within(pool.acquire()).await.unwrap();
    for (tool, reason) in [
        ("deep", "it is nested more than 125 levels deep"),
        ("nan", "it is not JSON: expected value"),
    ] {
        match within(call(&lease, tool, json!({}))).await {
            Err(ServiceError::McpError(error)) => {
                assert!(error.message.contains(reason), "{}", error.message);
            }
            other => panic!("{other:?}"),
        }
    }
    let large = within(call(&lease, "large", json!({}))).await.unwrap();
    assert_eq!(text(&large).len(), 1024 * 1024);
    assert_eq!(
        large.content[1].as_text().unwrap().text,
        r#"{"type":"new"}"#
    );
    assert_eq!(
        text(&within(call(&lease, "sound", json!({}))).await.unwrap()),
        "done"
    );
    assert_eq!(lease.noise_lines(), 0);
    drop(lease);
    within(pool.close()).await;
}

/// Such a server writes all its lines so; the second newline splits the first character of the line behind it.
#[tokio::test]
async fn a_reply_that_a_shell_or_a_terminal_has_changed_is_read() {
    type Change = fn(String) -> Vec<u8>;
    let changes: [(&str, Change); 5] = [
        ("escape sequences", |line| {
            format!("\u{1b}[32m{}\u{1b}[0m\n", line.trim()).into()
        }),
        ("a NUL byte", |line| format!("\0{line}").into()),
        ("a byte order mark", |line| format!("\u{feff}{line}").into()),
        ("no newline before it", |line| {
            let log = json!({"level": "info", "data": "x"});
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": log});
            format!("{log}{line}").into()
        }),
        ("UTF-16", |line| {
            line.encode_utf16().flat_map(u16::to_le_bytes).collect()
        }),
    ];
    for (name, change) in changes {
        let pool = pool_of(
            Raw(move |request: &Value| {
                let text = request["params"]["arguments"]["text"].clone();
                let line = reply(
                    request,
                    &json!({"content": [{"type": "text", "text": text}]}),
                );
                change(String::from_utf8(line).unwrap())
            }),
            quiet(),
        );
        let lease = within(pool.acquire()).await.unwrap();
        for sent in ["plain", "héllo ✓ 漢字 🎉", "plain again"] {
            let called = within(call(&lease, "any", json!({"text": sent}))).await;
            let result = called.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(text(&result), sent, "{name}");
            let params = json!({"name": "any", "arguments": {"text": sent}});
            let params = to_raw_value(&params).unwrap();
            let raw = within(lease.request(RawRequest::new("tools/call").params(&params))).await;
            let raw: Value = serde_json::from_str(raw.unwrap().get()).unwrap();
            assert_eq!(raw["content"][0]["text"], sent, "{name}");
        }
        assert_eq!(lease.noise_lines(), 0, "{name}");
        drop(lease);
        within(pool.close()).await;
    }
}

#[tokio::test]
async fn a_list_keeps_its_good_tools() {
    let pool = pool_of(
        Raw(|request: &Value| {
            let tools = json!([{"name": "bad"}, {"name": "good", "inputSchema": {}}]);
            reply(request, &json!({"tools": tools}))
        }),
        quiet(),
    );
    let lease = within(pool.acquire()).await.unwrap();
    let tools = within(lease.list_all_tools()).await.unwrap();
    assert_eq!(tools.len(), 1);
    assert_eq!(tools[0].name, "good");
    drop(lease);
    within(pool.close()).await;
}
