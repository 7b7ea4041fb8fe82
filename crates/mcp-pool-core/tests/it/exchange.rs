//! Raw requests: results arrive as the server wrote them, and a cancelled caller leaves nothing behind.

use crate::common;
use std::{
    future::Future,
    ops::Deref,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use common::{
    at_rest, pool_of, pool_on, quiet,
    raw::{Raw, line_of, reply},
    within,
};
use mcp_pool_core::{
    Lease, ProgressSink, RawRequest, RequestObserver, Session, SessionPool,
    connect::in_process::InProcess,
    rmcp::{
        ServiceError,
        model::{CallToolResult, ListToolsResult, ProgressToken, RequestId, RequestMetaObject},
    },
};
use mcp_testkit::{Era, TestServer};
use parking_lot::Mutex;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

async fn call(session: &Session, params: &Value) -> Result<Value, ServiceError> {
    let params = raw(params);
    let request = RawRequest::new("tools/call").params(&params);
    let result = within(session.request(request)).await?;
    Ok(serde_json::from_str(result.get()).unwrap())
}

/// A lease, and the pool that it is of.
struct Leased(Lease, #[allow(dead_code, reason = "held")] SessionPool);

impl Deref for Leased {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

/// A lease on a session of a server that writes what `answer` returns.
async fn on_raw(answer: impl Fn(&Value) -> Vec<u8> + Clone + Send + Sync + 'static) -> Leased {
    let pool = pool_of(Raw(answer), quiet());
    Leased(pool.acquire().await.unwrap(), pool)
}

fn bytes(id: &Value, fields: &str) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{fields}}}\n").into_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_raw_call_returns_the_result_of_the_tool() {
    let pool = pool_on(&TestServer::new(), quiet());
    let lease = pool.acquire().await.unwrap();
    let result = call(
        &lease,
        &json!({"name": "echo", "arguments": {"message": "hi"}}),
    )
    .await;
    assert_eq!(result.unwrap()["content"][0]["text"], "hi");
    let params = raw(&json!({"name": "echo", "arguments": {"message": "typed"}}));
    let request = RawRequest::new("tools/call").params(&params);
    let result = lease.request(request).await.unwrap();
    let typed: CallToolResult = lease.parse(result).await.unwrap();
    assert_eq!(common::text(&typed), "typed");
}

#[tokio::test(start_paused = true)]
async fn a_result_comes_back_as_it_was_written() {
    const RESULT: &str =
        r#"{ "b":1e2, "a" : [NULL], "c":"\u00e9\/", "a":2.50, "content": [{"type":"hologram"}]}"#;
    let result = RESULT.replace("NULL", "null");
    let sent = result.clone();
    let lease = on_raw(move |request| bytes(&request["id"], &format!("\"result\":{sent}"))).await;
    let received = lease.request(RawRequest::new("x/y")).await.unwrap();
    assert_eq!(received.get(), result);
}

#[tokio::test(start_paused = true)]
async fn odd_replies_reach_the_one_who_asked() {
    let answers: [(&str, Result<&str, i32>); 9] = [
        (
            r#"{"jsonrpc":"2.0","id":"ID","result":{"a":1}}"#,
            Ok(r#"{"a":1}"#),
        ),
        (
            r#"{"result":{"a":1},"error":null,"id":ID,"jsonrpc":"2.0","more":[]}"#,
            Ok(r#"{"a":1}"#),
        ),
        (r#"{"jsonrpc":"2.0","id":ID,"result":null}"#, Ok("null")),
        (r#"[{"jsonrpc":"2.0","id":ID,"result":7}]"#, Ok("7")),
        (
            r#"[{"jsonrpc":"2.0","method":"notifications/x"},"noise",[], {"jsonrpc":"2.0","id":ID,"result":7} ]"#,
            Ok("7"),
        ),
        (r#"{"jsonrpc":"2.0","id":ID,"result":NaN}"#, Err(-32603)),
        (r#"{"id":ID,"result":{}}"#, Err(-32603)),
        (r#"{"jsonrpc":"2.0","id":ID}"#, Err(-32603)),
        (
            r#"{"jsonrpc":"2.0","id":ID,"result":null,"error":{"code":-5,"message":"no","data":{"a":[1]}}}"#,
            Err(-5),
        ),
    ];
    for (answer, expected) in answers {
        let lease = on_raw(move |request| {
            let line = answer.replace("ID", &request["id"].to_string());
            format!("{line}\n").into_bytes()
        })
        .await;
        let received = within(lease.request(RawRequest::new("x/y"))).await;
        match (received, expected) {
            (Ok(result), Ok(expected)) => assert_eq!(result.get(), expected, "{answer}"),
            (Err(ServiceError::McpError(error)), Err(code)) => {
                assert_eq!(error.code.0, code, "{answer}: {error}");
                if code == -5 {
                    assert_eq!(error.message, "no");
                    assert_eq!(error.data, Some(json!({"a": [1]})));
                }
            }
            (received, _) => panic!("{answer}: {received:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_unicode_do_not_cost_the_reply() {
    let lease = on_raw(|request| {
        let mut line = bytes(&request["id"], r#""result":{"text":"caf?"}"#);
        let at = line.iter().position(|byte| *byte == b'?').unwrap();
        line[at] = 0xe9;
        line
    })
    .await;
    let received = lease.request(RawRequest::new("x/y")).await.unwrap();
    assert_eq!(received.get(), "{\"text\":\"caf\u{fffd}\"}");
}

#[tokio::test(start_paused = true)]
async fn replies_that_nothing_has_asked_for_disturb_no_call() {
    let lease = on_raw(|request| {
        let id = &request["id"];
        let unknown = json!(id.as_i64().unwrap() + 1_000);
        let twice = bytes(id, r#""result":"first""#);
        let stray = bytes(&unknown, r#""result":"stray""#);
        [stray, twice.clone(), twice].concat()
    })
    .await;
    for _ in 0..3 {
        let received = lease.request(RawRequest::new("x/y")).await.unwrap();
        assert_eq!(received.get(), "\"first\"");
    }
}

#[tokio::test(start_paused = true)]
async fn meta_is_written_once_whoever_gave_it() {
    let pool = pool_of(Raw(|request: &Value| reply(request, request)), quiet());
    let lease = pool.acquire().await.unwrap();
    let mut meta = RequestMetaObject::default();
    meta.0.0.insert("traceparent".into(), json!("00-1-2-01"));
    let params = RawValue::from_string(
        "{\n \"name\": \"a\",\r\n \"_meta\": {\"own\": [1], \"progressToken\": 3, \"traceparent\": 0}}".into(),
    )
    .unwrap();
    let request = RawRequest::new("tools/call").params(&params).meta(&meta);
    let received = lease.request(request).await.unwrap();
    assert_eq!(received.get().matches("_meta").count(), 1);
    let received: Value = serde_json::from_str(received.get()).unwrap();
    let expected = json!({
        "name": "a",
        "_meta": {"own": [1], "traceparent": "00-1-2-01", "progressToken": received["id"]},
    });
    assert_eq!(received["params"], expected);
    for params in ["[1]", "\"a\"", "null"] {
        let params = RawValue::from_string(params.into()).unwrap();
        let refused = lease.request(RawRequest::new("x/y").params(&params)).await;
        assert!(
            matches!(refused, Err(ServiceError::McpError(_))),
            "{params}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_modern_server_is_told_with_every_request_who_asks() {
    let server = TestServer::new().with_era(Era::Modern);
    let pool = pool_of(InProcess::new(move || server.clone()), quiet());
    let lease = pool.acquire().await.unwrap();
    // It refuses requests without this.
    let list = lease.request(RawRequest::new("tools/list")).await.unwrap();
    let list: ListToolsResult = lease.parse(list).await.unwrap();
    assert!(!list.tools.is_empty());
}

#[tokio::test(start_paused = true)]
async fn progress_comes_before_the_result_and_only_to_its_own_call() {
    let lease = on_raw(|request| {
        let token = &request["params"]["_meta"]["progressToken"];
        let progress = |token: &Value, progress: u32| {
            line_of(
                &json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": progress}}),
            )
        };
        let other = json!(token.as_i64().unwrap() + 1);
        let lines = (1..=3).map(|step| progress(token, step));
        [
            lines.collect::<Vec<_>>().concat(),
            progress(&other, 9),
            reply(request, &json!({})),
        ]
        .concat()
    })
    .await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink: ProgressSink = {
        let heard = Arc::clone(&heard);
        Arc::new(move |progress| heard.lock().push(progress.progress))
    };
    let request = RawRequest::new("tools/call").progress(&sink);
    lease.request(request).await.unwrap();
    assert_eq!(*heard.lock(), [1.0, 2.0, 3.0]);
    lease.request(RawRequest::new("tools/call")).await.unwrap();
    assert_eq!(heard.lock().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_go_at_any_await_point_and_the_server_hears_of_it() {
    let cancelled = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::new(AtomicBool::new(false));
    let lease = {
        let (cancelled, answers) = (Arc::clone(&cancelled), Arc::clone(&answers));
        on_raw(move |message| match message["method"].as_str() {
            Some("notifications/cancelled") => {
                cancelled
                    .lock()
                    .push(message["params"]["requestId"].clone());
                Vec::new()
            }
            _ if answers.load(Ordering::Relaxed) => reply(message, &message["id"]),
            _ => Vec::new(),
        })
        .await
    };
    // A future that is never polled sends nothing.
    drop(lease.request(RawRequest::new("tools/call")));
    at_rest().await;
    assert!(cancelled.lock().is_empty());
    for _ in 0..3 {
        {
            let mut call = pin!(lease.request(RawRequest::new("tools/call")));
            let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
            at_rest().await;
        }
        at_rest().await;
    }
    answers.store(true, Ordering::Relaxed);
    let id = lease.request(RawRequest::new("tools/call")).await.unwrap();
    let id: i64 = id.get().parse().unwrap();
    assert_eq!(*cancelled.lock(), [id - 3, id - 2, id - 1].map(Value::from));
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_the_id_and_its_reason_is_in_the_cancellation() {
    #[derive(Default)]
    struct Noted(Mutex<Vec<(RequestId, Option<ProgressToken>)>>);

    impl RequestObserver for Noted {
        fn sending(&self, id: i64) {
            self.0.lock().push((RequestId::Number(id), None));
        }

        fn sent(&self, id: RequestId, progress_token: ProgressToken) {
            self.0.lock().push((id, Some(progress_token)));
        }

        fn cancel_reason(&self) -> Option<String> {
            Some("not \"needed\"".into())
        }
    }

    let heard = Arc::new(Mutex::new(Vec::new()));
    let lease = {
        let heard = Arc::clone(&heard);
        on_raw(move |message| {
            heard.lock().push(message.clone());
            Vec::new()
        })
        .await
    };
    let noted = Noted::default();
    {
        let mut call = pin!(lease.request(RawRequest::new("x/y").observer(&noted)));
        assert!(noted.0.lock().is_empty());
        let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending));
        at_rest().await;
    }
    at_rest().await;
    let heard = std::mem::take(&mut *heard.lock());
    let id = heard[0]["id"].as_i64().map(RequestId::Number).unwrap();
    let sent = (id.clone(), Some(ProgressToken(id.clone())));
    assert_eq!(*noted.0.lock(), [(id, None), sent]);
    let cancelled = json!({"requestId": heard[0]["id"], "reason": "not \"needed\""});
    assert_eq!(heard[1]["params"], cancelled);
}

#[tokio::test(start_paused = true)]
async fn many_calls_at_once_have_each_its_own_result() {
    let pool = pool_of(
        Raw(|request: &Value| reply(request, &request["params"]["n"])),
        quiet(),
    );
    let lease = Arc::new(pool.acquire().await.unwrap());
    let calls = (0..500).map(|n| {
        let lease = Arc::clone(&lease);
        tokio::spawn(async move {
            let params = raw(&json!({"n": n}));
            let result = lease.request(RawRequest::new("x/y").params(&params)).await;
            assert_eq!(result.unwrap().get(), n.to_string());
        })
    });
    for call in calls.collect::<Vec<_>>() {
        within(call).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_session() {
    let pool = pool_on(&TestServer::new(), quiet());
    let lease = pool.acquire().await.unwrap();
    let params = raw(&json!({"name": "sleep", "arguments": {"ms": 3_600_000}}));
    let call = lease.request(RawRequest::new("tools/call").params(&params));
    let ends = async {
        at_rest().await;
        let exit = raw(&json!({"name": "exit", "arguments": {}}));
        let _ = lease
            .request(RawRequest::new("tools/call").params(&exit))
            .await;
    };
    let (ended, ()) = within(async { tokio::join!(call, ends) }).await;
    assert!(
        matches!(ended, Err(ServiceError::TransportClosed)),
        "{ended:?}"
    );
    let late = lease.request(RawRequest::new("ping")).await;
    assert!(
        matches!(late, Err(ServiceError::TransportClosed)),
        "{late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_not_left_is_withdrawn_and_the_next_one_is_whole() {
    let seen = Arc::new(AtomicUsize::new(0));
    let lease = {
        let seen = Arc::clone(&seen);
        on_raw(move |request| {
            seen.fetch_add(1, Ordering::Relaxed);
            match request["method"].as_str() {
                Some("notifications/cancelled") => Vec::new(),
                _ => reply(
                    request,
                    &json!(request["params"]["text"].as_str().map(str::len)),
                ),
            }
        })
        .await
    };
    let long = raw(&json!({"text": "x".repeat(300_000)}));
    {
        let mut calls: Vec<_> = (0..3)
            .map(|_| Box::pin(lease.request(RawRequest::new("x/y").params(&long))))
            .collect();
        for call in &mut calls {
            let polled = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(polled, Poll::Pending));
        }
    }
    // The first is written in part, and goes on; the others had not begun.
    let result = within(lease.request(RawRequest::new("x/y").params(&long))).await;
    assert_eq!(result.unwrap().get(), "300000");
    // The first, its cancellation, and the last.
    assert_eq!(seen.load(Ordering::Relaxed), 3);
}
