//! Raw requests over HTTP: each is posted by its caller.

use crate::common;
use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use common::{pool_of, quiet, within};
use mcp_pool_core::{
    CallFailure, Lease, ProgressSink, RawRequest, SessionPool,
    connect::http::Http,
    rmcp::{ServiceError, model::ErrorCode},
};
use mcp_testkit::scripted_http::{Answer, Asked, ScriptedHttp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;

async fn on(
    answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> (ScriptedHttp, SessionPool, Lease) {
    let server =
        ScriptedHttp::start(move |asked| (asked.method() == "x/y").then(|| answer(asked))).await;
    let pool = pool_of(Http::new(server.url()).unwrap(), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    (server, pool, lease)
}

fn progress(token: &Value, progress: u32) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": token, "progress": progress}})
}

/// A message, or an array of several, as a body or as an event.
fn sent(message: &Value, as_event: bool) -> Answer {
    match as_event {
        true => Answer::events().event(message),
        false => Answer::json(200, message),
    }
}

#[tokio::test]
async fn progress_comes_before_the_result() {
    for in_one_array in [None, Some(false), Some(true)] {
        let (_server, _pool, lease) = on(move |asked| {
            let token = &asked.body["params"]["_meta"]["progressToken"];
            let reply = asked.reply(json!("done"));
            if let Some(as_event) = in_one_array {
                let batch = json!([progress(token, 1), reply, progress(token, 2)]);
                return sent(&batch, as_event);
            }
            let events = Answer::events().event(&progress(token, 1));
            events.event(&progress(token, 2)).event(&reply)
        })
        .await;
        for _ in 0..20 {
            let heard = Arc::new(Mutex::new(Vec::new()));
            let sink: ProgressSink = {
                let heard = Arc::clone(&heard);
                Arc::new(move |progress| heard.lock().push(progress.progress))
            };
            let request = RawRequest::new("x/y").progress(&sink);
            let result = within(lease.request(request)).await.unwrap();
            assert_eq!(result.get(), "\"done\"");
            assert_eq!(*heard.lock(), [1.0, 2.0]);
        }
    }
}

#[tokio::test]
async fn replies_in_one_array_reach_each_the_one_who_asked() {
    for as_event in [false, true] {
        let first = Mutex::new(None::<Value>);
        let (server, _pool, lease) = on(move |asked| {
            let reply = asked.reply(asked.body["params"]["n"].clone());
            match first.lock().replace(reply.clone()) {
                None => Answer::events().hang(),
                Some(first) => sent(&json!([first, reply]), as_event),
            }
        })
        .await;
        let params = [1, 2].map(|n| serde_json::value::to_raw_value(&json!({"n": n})).unwrap());
        let call = |n: usize| lease.request(RawRequest::new("x/y").params(&params[n]));
        let second = async {
            while server.count("x/y") == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            call(1).await
        };
        let (first, second) = within(async { tokio::join!(call(0), second) }).await;
        assert_eq!(first.unwrap().get(), "1", "as an event: {as_event}");
        assert_eq!(second.unwrap().get(), "2", "as an event: {as_event}");
    }
}

#[tokio::test]
async fn what_stands_beside_a_reply_in_an_array_is_not_taken_for_it() {
    let foreign = json!({"jsonrpc": "2.0", "id": 9999, "result": "foreign"});
    let text_id = json!({"jsonrpc": "2.0", "id": "abc", "result": "foreign"});
    let no_id = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -1, "message": "no id"}});
    let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
        "params": {"level": "info", "data": "x"}});
    for as_event in [false, true] {
        for beside in [&foreign, &text_id, &no_id, &log, &json!([]), &json!(7)] {
            for is_first in [false, true] {
                let other = beside.clone();
                let (_server, _pool, lease) = on(move |asked| {
                    let reply = asked.reply(json!("own"));
                    let batch = match is_first {
                        true => json!([other, reply]),
                        false => json!([reply, other]),
                    };
                    sent(&batch, as_event)
                })
                .await;
                let result = within(lease.request(RawRequest::new("x/y"))).await;
                let result = result.unwrap_or_else(|error| panic!("{beside}: {error}"));
                assert_eq!(result.get(), "\"own\"", "{beside}");
            }
        }
        let alone = json!([foreign]);
        let (_server, _pool, lease) = on(move |_| sent(&alone, as_event)).await;
        let failed = within(lease.request(RawRequest::new("x/y"))).await;
        let reason = CallFailure::reason(&failed.unwrap_err());
        assert!(reason.contains("replied with id 9999"), "{reason}");
    }
}

#[tokio::test]
async fn a_server_is_told_of_a_caller_that_goes_and_the_session_stays_usable() {
    let (server, _pool, lease) = on(|asked| match asked.body["params"]["hang"].is_null() {
        true => Answer::json(200, &asked.reply(json!(1))),
        false => Answer::events().hang(),
    })
    .await;
    let hang = serde_json::value::to_raw_value(&json!({"hang": true})).unwrap();
    {
        let mut call = pin!(lease.request(RawRequest::new("x/y").params(&hang)));
        while server.count("x/y") == 0 {
            let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
            sleep(Duration::from_millis(1)).await;
        }
    }
    within(async {
        while server.count("notifications/cancelled") == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let asked = server.asked();
    let of = |method| asked.iter().find(|asked| asked.method() == method).unwrap();
    let cancelled = &of("notifications/cancelled").body["params"]["requestId"];
    assert_eq!(cancelled, of("x/y").id());
    let result = within(lease.request(RawRequest::new("x/y"))).await.unwrap();
    assert_eq!(result.get(), "1");
}

/// A modern server.
#[tokio::test]
async fn arguments_are_repeated_in_headers_and_nothing_of_list_and_result_is_lost() {
    let schema = json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
    }});
    let good = json!({"name": "located", "inputSchema": schema, "unknown": {"a": [1.50]}});
    let bad = json!({"name": "bad", "inputSchema": {"type": "object", "x-mcp-header": "A"}});
    let tools = json!([good, bad]);
    let server = ScriptedHttp::start(move |asked| {
        let result = match asked.method() {
            "server/discover" => json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                "serverInfo": {"name": "modern", "version": "1"}, "ttlMs": 0, "cacheScope": "private",
            }),
            "tools/list" => json!({
                "resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "public", "more": null,
            }),
            "tools/call" => json!({
                "resultType": "complete", "content": [{"type": "hologram"}],
                "region": asked.header("mcp-param-region"),
            }),
            _ => return None,
        };
        Some(Answer::json(200, &asked.reply(result)))
    })
    .await;
    let pool = pool_of(Http::new(server.url()).unwrap(), quiet());
    let first = within(pool.acquire()).await.unwrap();
    let second = within(pool.acquire()).await.unwrap();
    for lease in [first, second] {
        let list = within(lease.request(RawRequest::new("tools/list"))).await;
        let list: Value = serde_json::from_str(list.unwrap().get()).unwrap();
        assert_eq!(list["tools"], json!([good]));
        assert!(list.as_object().unwrap().contains_key("more"));
        for region in ["north", " south"] {
            let params = json!({"name": "located", "arguments": {"region": region}});
            let params = serde_json::value::to_raw_value(&params).unwrap();
            let result = within(lease.request(RawRequest::new("tools/call").params(&params))).await;
            let result: Value = serde_json::from_str(result.unwrap().get()).unwrap();
            assert_eq!(result["content"], json!([{"type": "hologram"}]));
            let header = match region {
                "north" => "north",
                _ => "=?base64?IHNvdXRo?=",
            };
            assert_eq!(result["region"], header);
        }
    }
}

#[tokio::test]
async fn the_servers_error_comes_back_intact() {
    let (_server, _pool, lease) = on(|asked| {
        Answer::json(
            400,
            &json!({"jsonrpc": "2.0", "id": asked.id(),
                "error": {"code": -32602, "message": "no", "data": {"a": [1.5]}}}),
        )
    })
    .await;
    let error = within(lease.request(RawRequest::new("x/y")))
        .await
        .unwrap_err();
    assert_eq!(CallFailure::of(&error), CallFailure::Answered);
    let ServiceError::McpError(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.code, ErrorCode::INVALID_PARAMS);
    assert_eq!(error.data, Some(json!({"a": [1.5]})));
}

#[tokio::test]
async fn a_request_goes_to_the_session_that_took_the_place_of_a_forgotten_one() {
    let server = ScriptedHttp::start(|_| None).await;
    let pool = pool_of(Http::new(server.url()).unwrap(), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let params = json!({"name": "echo", "arguments": {"message": "hello"}});
    let params = serde_json::value::to_raw_value(&params).unwrap();
    let call = || lease.request(RawRequest::new("tools/call").params(&params));
    within(call()).await.unwrap();
    server.forget_sessions();
    let calls = async { tokio::join!(call(), call(), call()) };
    let (first, second, third) = within(calls).await;
    for result in [first, second, third] {
        assert!(result.unwrap().get().contains("hello"));
    }
    let asked = server.asked();
    let session = |asked: &Asked| asked.header("mcp-session-id").map(str::to_owned);
    let calls: Vec<_> = asked
        .iter()
        .filter(|asked| asked.method() == "tools/call")
        .collect();
    assert_ne!(session(calls[0]), session(calls[calls.len() - 1]));
    // For the three of them together, another session was made once.
    assert_eq!(server.count("initialize"), 2);
}
