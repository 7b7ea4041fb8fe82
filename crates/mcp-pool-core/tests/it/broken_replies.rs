//! Replies that are not written as one message a line: each ends its call at once, with its result or with the reason.

use crate::common;
use std::sync::Arc;

use common::{
    call, pool_of, quiet,
    raw::{Raw, reply},
    text, within,
};
use mcp_pool_core::{RawRequest, rmcp::ServiceError};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// How a server writes a reply.
type Writing = fn(&Value) -> String;

fn sound(request: &Value) -> Value {
    let result = json!({"content": [{"type": "text", "text": "caf\u{e9} {}"}]});
    json!({"jsonrpc": "2.0", "id": request["id"], "result": result})
}

fn pretty(request: &Value) -> String {
    serde_json::to_string_pretty(&sound(request)).unwrap()
}

fn framed(request: &Value) -> String {
    let message = sound(request).to_string();
    format!("Content-Length: {}\r\n\r\n{message}", message.len())
}

fn null_id(request: &Value, field: &str, value: &Value) -> String {
    let mut message = sound(request);
    message["id"] = Value::Null;
    message.as_object_mut().unwrap().remove("result");
    message[field] = value.clone();
    format!("{message}\n")
}

/// A server that writes the replies to calls in this way.
fn connector(writing: Writing) -> Raw<impl Fn(&Value) -> Vec<u8> + Clone> {
    Raw(move |request: &Value| match request["method"].as_str() {
        Some("tools/call" | "ping") => writing(request).into_bytes(),
        _ => Vec::new(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_whole_comes_through_however_it_is_written() {
    let ways: [(&str, Writing); 10] = [
        ("indented", |request| format!("{}\n", pretty(request))),
        ("indented, as on Windows", |request| {
            format!("{}\r\n", pretty(request).replace('\n', "\r\n"))
        }),
        ("indented, without a newline", pretty),
        ("without a newline", |request| sound(request).to_string()),
        ("with a fraction in its id", |request| {
            let id = request["id"].to_string();
            let line = sound(request).to_string();
            format!("{}\n", line.replace(&id, &format!("{id}.0")))
        }),
        ("behind a log", |request| {
            format!("DEBUG: calling {}\n", sound(request))
        }),
        ("behind a log with a level", |request| {
            format!("[DEBUG] calling: {}\r\n", sound(request))
        }),
        ("behind a log and a newline", |request| {
            format!("{{\n  \"level\": 1\n}}\nstarted {{}}\n{}\n", sound(request))
        }),
        ("behind a brace", |request| {
            format!("{{\n{}\n", sound(request))
        }),
        ("behind a logged header", |request| {
            format!("Content-Length: 2\r\n\r\n{}\n", sound(request))
        }),
    ];
    for (way, writing) in ways {
        let pool = pool_of(connector(writing), quiet());
        let lease = within(pool.acquire()).await.unwrap();
        for _ in 0..3 {
            let called = within(call(&lease, "any", json!({}))).await;
            let result = called.unwrap_or_else(|error| panic!("{way}: {error}"));
            assert_eq!(text(&result), "caf\u{e9} {}", "{way}");
            let raw = within(lease.request(RawRequest::new("tools/call"))).await;
            let raw = raw.unwrap_or_else(|error| panic!("{way}: {error}"));
            assert!(!raw.get().contains(['\n', '\r']), "{way}: {raw}");
            let raw: Value = serde_json::from_str(raw.get()).unwrap();
            assert_eq!(raw, sound(&json!({}))["result"], "{way}");
        }
        drop(lease);
        within(pool.close()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_cannot_be_read_ends_its_call_with_the_reason() {
    const LSP: &str = "Content-Length headers";
    let ways: [(&str, Writing, &str); 7] = [
        ("headers", framed, LSP),
        (
            "headers, with a newline",
            |request| format!("{}\n", framed(request)),
            LSP,
        ),
        (
            "a null id, with an error",
            |request| {
                null_id(
                    request,
                    "error",
                    &json!({"code": -32603, "message": "boom"}),
                )
            },
            "boom",
        ),
        (
            "a null id, with an error of no known form",
            |request| null_id(request, "error", &json!("boom")),
            "boom",
        ),
        (
            "a null id, with a result",
            |request| null_id(request, "result", &json!({})),
            "it has no id",
        ),
        (
            "no id",
            |_| "{\"jsonrpc\":\"2.0\",\"result\":{}}\n".into(),
            "it has no id",
        ),
        (
            "indented by nothing",
            |request| {
                format!(
                    "{{\n\"jsonrpc\":\"2.0\",\n\"id\": {},\n\"result\": {{\n}}\n}}\n",
                    request["id"]
                )
            },
            "it breaks off",
        ),
    ];
    for (way, writing, reason) in ways {
        let pool = pool_of(connector(writing), quiet());
        let lease = within(pool.acquire()).await.unwrap();
        for _ in 0..3 {
            let typed = within(call(&lease, "any", json!({}))).await;
            let raw = within(lease.request(RawRequest::new("tools/call"))).await;
            for outcome in [typed.map(drop), raw.map(drop)] {
                match outcome {
                    Err(ServiceError::McpError(error)) => {
                        assert!(error.message.contains(reason), "{way}: {}", error.message);
                    }
                    other => panic!("{way}: {other:?}"),
                }
            }
        }
        // The session goes on, and so do health probes.
        assert!(within(pool.probe()).await.unwrap().alive, "{way}");
        drop(lease);
        within(pool.close()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_without_an_id_is_noise_while_several_requests_are_under_way() {
    let first = Arc::new(Mutex::new(None::<Value>));
    let pool = pool_of(
        Raw(move |request: &Value| {
            let Some(first) = first.lock().replace(request.clone()) else {
                return Vec::new();
            };
            let error = json!({"code": -32603, "message": "boom"});
            let mut bytes = null_id(request, "error", &error).into_bytes();
            bytes.extend(reply(&first, &json!("first")));
            bytes.extend(reply(request, &json!("second")));
            bytes
        }),
        quiet(),
    );
    let lease = within(pool.acquire()).await.unwrap();
    let calls = async {
        tokio::join!(
            lease.request(RawRequest::new("x/y")),
            lease.request(RawRequest::new("x/y"))
        )
    };
    let (first, second) = within(calls).await;
    assert_eq!(first.unwrap().get(), "\"first\"");
    assert_eq!(second.unwrap().get(), "\"second\"");
    assert_eq!(lease.noise_lines(), 1);
}

#[tokio::test(start_paused = true)]
async fn replies_behind_headers_are_refused_though_they_come_at_once() {
    let first = Arc::new(Mutex::new(None::<Value>));
    let pool = pool_of(
        Raw(move |request: &Value| {
            let Some(first) = first.lock().replace(request.clone()) else {
                return Vec::new();
            };
            (framed(&first) + &framed(request)).into_bytes()
        }),
        quiet(),
    );
    let lease = within(pool.acquire()).await.unwrap();
    let calls = async {
        tokio::join!(
            lease.request(RawRequest::new("x/y")),
            lease.request(RawRequest::new("x/y"))
        )
    };
    let (first, second) = within(calls).await;
    for outcome in [first, second] {
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("Content-Length headers"), "{error}");
    }
}
