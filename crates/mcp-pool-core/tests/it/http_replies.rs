//! Replies over HTTP that are not quite as the protocol has them: the call ends at once, with what the server said.

use crate::common;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{assert_balanced, call, echo, pool_of, quiet, within};
use mcp_pool_core::{
    AcquireError, CallFailure, OpenErrorKind, SessionPool,
    connect::http::Http,
    rmcp::{
        ServiceError,
        model::{CallToolResult, ErrorCode},
    },
};
use mcp_testkit::scripted_http::{Answer, Asked, ScriptedHttp};
use serde_json::{Value, json};

fn pool_on(server: &ScriptedHttp) -> SessionPool {
    pool_of(Http::new(server.url()).unwrap(), quiet())
}

/// A server that answers calls as the script says, and all else as it should.
async fn answers_calls(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> ScriptedHttp {
    ScriptedHttp::start(move |asked| (asked.method() == "tools/call").then(|| answer(asked))).await
}

/// One call; what it says of itself if it fails.
async fn outcome(pool: &SessionPool) -> Result<CallToolResult, (CallFailure, ServiceError)> {
    let lease = within(pool.acquire()).await.unwrap();
    let guard = lease.begin_call(None);
    match within(call(&lease, "echo", json!({"message": "hello"}))).await {
        Ok(result) => {
            guard.answered();
            Ok(result)
        }
        Err(error) => Err((guard.failed(&error), error)),
    }
}

/// Why a call failed, in words that name no Rust type.
async fn failure(pool: &SessionPool) -> (CallFailure, String) {
    let (failure, error) = outcome(pool).await.unwrap_err();
    assert!(!error.to_string().contains("::"), "{error}");
    (failure, CallFailure::reason(&error))
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

#[tokio::test]
async fn an_error_without_an_id_ends_the_call_that_it_answers_whatever_its_status() {
    let unknown = error(&Value::Null, -32602, "Unknown tool: echo");
    let answers = [200, 400, 409, 422, 500].map(|status| Answer::json(status, &unknown));
    for answer in answers
        .into_iter()
        .chain([Answer::events().event(&unknown)])
    {
        let shown = format!("{answer:?}");
        let server = answers_calls(move |_| answer.clone()).await;
        let pool = pool_on(&server);
        let (failure, error) = outcome(&pool).await.unwrap_err();
        assert_eq!(failure, CallFailure::Answered, "{shown}");
        let ServiceError::McpError(error) = error else {
            panic!("not the server's error: {error}");
        };
        assert_eq!(error.code, ErrorCode::INVALID_PARAMS);
        assert_eq!(error.message, "Unknown tool: echo");
        assert_eq!(server.count("tools/call"), 1, "{shown}");
        within(pool.close()).await;
    }
}

#[tokio::test]
async fn a_forgotten_session_is_replaced_and_the_call_made_once_however_the_server_tells() {
    type Tell = fn(&Asked) -> Answer;
    let tells: [Tell; 6] = [
        |_| Answer::status(404, "Session not found"),
        |_| Answer::json(404, &error(&Value::Null, -32001, "gone")),
        |_| {
            Answer::json(
                400,
                &error(
                    &Value::Null,
                    -32000,
                    "Bad Request: No valid session ID provided",
                ),
            )
        },
        |asked| {
            Answer::json(
                400,
                &error(asked.id(), -32000, "Bad Request: No valid session ID"),
            )
        },
        |_| Answer::status(400, "Invalid or missing session ID"),
        |asked| {
            Answer::json(
                200,
                &error(asked.id(), -32000, "Bad Request: Server not initialized"),
            )
        },
    ];
    for (number, report) in tells.into_iter().enumerate() {
        let executed = Arc::new(AtomicUsize::new(0));
        let known: Arc<OnceLock<String>> = Arc::default();
        let (calls, forgotten) = (Arc::clone(&executed), Arc::clone(&known));
        let server = ScriptedHttp::start(move |asked| {
            let session = asked.header("mcp-session-id");
            let is_forgotten = forgotten.get().is_some_and(|old| session == Some(old));
            if is_forgotten && asked.verb == "POST" {
                return Some(report(asked));
            }
            if asked.method() == "tools/call" {
                calls.fetch_add(1, Relaxed);
            }
            None
        })
        .await;
        let pool = pool_on(&server);
        assert!(outcome(&pool).await.is_ok(), "{number}");
        let asked = server.asked();
        let session = asked
            .iter()
            .find_map(|asked| asked.header("mcp-session-id"));
        known.set(session.unwrap().to_owned()).unwrap();
        assert!(outcome(&pool).await.is_ok(), "{number}");
        assert_eq!(executed.load(Relaxed), 2, "{number}");
        let status = assert_balanced(&pool);
        assert_eq!((status.reinitialized, status.opened), (1, 1), "{number}");
        within(pool.close()).await;
    }
}

#[tokio::test]
async fn a_probe_replaces_a_session_that_the_server_has_forgotten() {
    let server = ScriptedHttp::start(|asked| {
        let first = asked.header("mcp-session-id") == Some("session-1");
        let says = "Bad Request: Server not initialized";
        (first && asked.method() == "ping")
            .then(|| Answer::json(200, &error(asked.id(), -32000, says)))
    })
    .await;
    let pool = pool_on(&server);
    assert!(outcome(&pool).await.is_ok());
    assert!(within(pool.probe()).await.unwrap().alive);
    assert_eq!(pool.status().reinitialized, 1);
    assert!(outcome(&pool).await.is_ok());
}

#[tokio::test]
async fn an_error_that_only_speaks_of_a_session_is_the_tools_own() {
    let server = answers_calls(|asked| {
        Answer::json(200, &error(asked.id(), -32000, "browser session not found"))
    })
    .await;
    let pool = pool_on(&server);
    let (failure, error) = outcome(&pool).await.unwrap_err();
    assert_eq!(failure, CallFailure::Answered);
    assert!(error.to_string().contains("browser session"), "{error}");
    assert_eq!(server.count("tools/call"), 1, "it may have run");
    assert_eq!(assert_balanced(&pool).reinitialized, 0);
}

#[tokio::test]
async fn a_refusal_is_its_status_and_the_servers_words_on_one_line() {
    let json = json!({"error": {"code": "overloaded", "message": "try\nlater"}});
    for (answer, says, expected) in [
        (
            Answer::status(429, "Rate limit exceeded").header("Retry-After", "7"),
            "HTTP 429: Rate limit exceeded",
            CallFailure::Rejected(OpenErrorKind::Http(429)),
        ),
        (
            Answer::json(503, &json),
            "HTTP 503: try later",
            CallFailure::Lost,
        ),
        (
            Answer::new(502, "text/html").bytes("<html><body>nginx</body></html>"),
            "HTTP 502: Bad Gateway",
            CallFailure::Lost,
        ),
        (
            Answer::status(418, "secret-token is a\u{1b}[2J teapot"),
            r"HTTP 418: *** is a\u{1b}[2J teapot",
            CallFailure::Rejected(OpenErrorKind::Http(418)),
        ),
        (
            Answer::new(301, "").header("Location", "/elsewhere"),
            "HTTP 301: Moved Permanently",
            CallFailure::Rejected(OpenErrorKind::Http(301)),
        ),
    ] {
        let server = answers_calls(move |_| answer.clone()).await;
        let connector = Http::new(server.url()).unwrap();
        let connector = connector.header("X-Key", "secret-token").unwrap();
        let pool = pool_of(connector, quiet());
        let (failure, error) = outcome(&pool).await.unwrap_err();
        assert_eq!(CallFailure::reason(&error), says);
        assert_eq!(failure, expected);
        let retry_after = (says.contains("429")).then_some(Duration::from_secs(7));
        assert_eq!(CallFailure::retry_after(&error), retry_after);
        within(pool.close()).await;
    }
}

#[tokio::test]
async fn an_endless_refusal_is_not_read_to_its_end() {
    let server = answers_calls(|_| {
        Answer::new(503, "text/plain")
            .header("Content-Length", "1000000000")
            .flood([b'x'; 65536])
    })
    .await;
    let (failure, reason) = failure(&pool_on(&server)).await;
    assert_eq!(failure, CallFailure::Lost);
    assert!(
        reason.len() < 1_200 && reason.starts_with("HTTP 503: xxx"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_reply_larger_than_max_message_size_ends_its_call_at_once() {
    let large = |asked: &Asked| {
        asked.reply(json!({"content": [{"type": "text", "text": "x".repeat(70_000)}]}))
    };
    type Script = Box<dyn Fn(&Asked) -> Answer + Send + Sync>;
    let scripts: [Script; 4] = [
        Box::new(move |asked| Answer::json(200, &large(asked))),
        Box::new(move |asked| Answer::events().event(&large(asked))),
        // A line, a body and an event that never end.
        Box::new(|_| Answer::events().bytes("data: ").flood([b'x'; 4096])),
        Box::new(|_| {
            Answer::json(200, &json!(0))
                .header("Content-Length", "1000000000")
                .flood([b' '; 4096])
        }),
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        let server = answers_calls(script).await;
        let connector = Http::new(server.url()).unwrap().max_message_size(64 * 1024);
        let pool = pool_of(connector, quiet());
        let (failure, reason) = failure(&pool).await;
        assert_eq!(failure, CallFailure::Lost, "{number}");
        assert!(
            reason.contains("65536 bytes (max_message_size)"),
            "{reason}"
        );
        within(pool.close()).await;
        assert_eq!(assert_balanced(&pool).opened, 1);
    }
}

#[tokio::test]
async fn a_request_larger_than_max_message_size_is_not_sent() {
    let server = ScriptedHttp::start(|_| None).await;
    let connector = Http::new(server.url()).unwrap().max_message_size(64 * 1024);
    let pool = pool_of(connector, quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let guard = lease.begin_call(None);
    let large = json!({"message": "x".repeat(70_000)});
    let error = within(call(&lease, "echo", large)).await.unwrap_err();
    assert!(
        CallFailure::reason(&error).contains("max_message_size"),
        "{error}"
    );
    let failure = guard.failed(&error);
    assert_eq!(failure, CallFailure::Rejected(OpenErrorKind::Config));
    assert_eq!(server.count("tools/call"), 0);
    assert_eq!(echo(&lease).await, "hello");
}

#[tokio::test]
async fn a_reply_that_breaks_off_ends_its_call_at_once_with_the_reason() {
    type Script = fn(&Asked) -> Answer;
    let scripts: [(Script, &str); 7] = [
        (
            |_| Answer::new(200, "").header("X-Large", &"x".repeat(1 << 20)),
            "message head is too large",
        ),
        (
            |_| {
                Answer::json(200, &json!("half"))
                    .header("Content-Length", "100")
                    .cut()
            },
            "the reply broke off after 6 bytes",
        ),
        (
            |_| Answer::events().bytes("data: {\"jsonrpc\"").cut(),
            "the event stream broke off",
        ),
        (
            |_| Answer::events(),
            "ended its event stream without a reply",
        ),
        (
            |_| Answer::events().event(&json!({"jsonrpc": "2.0", "id": 9999, "result": {}})),
            "the server replied with id 9999 to the request with id",
        ),
        (
            |asked| {
                let id = format!("{}x", asked.id());
                Answer::events().event(&json!({"jsonrpc": "2.0", "id": id, "result": {}}))
            },
            "x to the request with id",
        ),
        (
            |_| Answer::new(200, "application/json"),
            "the reply is empty",
        ),
    ];
    for (script, says) in scripts {
        let server = answers_calls(script).await;
        let (failure, reason) = failure(&pool_on(&server)).await;
        assert_eq!(failure, CallFailure::Lost, "{says}");
        assert!(reason.contains(says), "{reason}");
    }
}

#[tokio::test]
async fn an_opening_that_is_answered_with_rubbish_says_so() {
    for (answer, says) in [
        (
            Answer::new(200, "application/json").bytes("oops"),
            "no message of JSON-RPC: oops",
        ),
        (Answer::events(), "without a reply"),
        (
            Answer::status(429, "Rate limit exceeded"),
            "HTTP 429: Rate limit exceeded",
        ),
    ] {
        let server = ScriptedHttp::start(move |_| Some(answer.clone())).await;
        let error = within(pool_on(&server).acquire()).await.unwrap_err();
        let AcquireError::Open { cause, .. } = error else {
            panic!("not {error}");
        };
        assert!(cause.to_string().contains(says), "{cause}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_end_of_the_handshake_is_quoted() {
    for (status, says) in [(400, "HTTP 400: no"), (500, "HTTP 500: no")] {
        let server = ScriptedHttp::start(move |asked| {
            let is_last = asked.method() == "notifications/initialized";
            is_last.then(|| Answer::status(status, "no"))
        })
        .await;
        let error = within(pool_on(&server).acquire()).await.unwrap_err();
        let AcquireError::Open { cause, .. } = error else {
            panic!("not {error}");
        };
        assert_eq!(cause.to_string(), says);
    }
}

#[tokio::test]
async fn headers_of_the_protocol_in_a_configuration_change_nothing() {
    let server = ScriptedHttp::start(|_| None).await;
    let connector = Http::new(server.url()).unwrap();
    let connector = connector.header("Accept", "text/plain").unwrap();
    let connector = connector.header("Content-Type", "text/plain").unwrap();
    let connector = connector.header("Mcp-Session-Id", "mine").unwrap();
    assert!(outcome(&pool_of(connector, quiet())).await.is_ok());
    let asked = server.asked();
    let call = asked.iter().find(|asked| asked.method() == "tools/call");
    let call = call.unwrap();
    assert_eq!(call.header("content-type"), Some("application/json"));
    let accept = "application/json, text/event-stream";
    assert_eq!(call.header("accept"), Some(accept));
    assert_eq!(call.header("mcp-session-id"), Some("session-1"));
}

#[tokio::test]
async fn notifications_are_taken_as_sent_whatever_body_answers_them() {
    for answer in [
        Answer::json(200, &json!({"ok": true})),
        Answer::new(204, ""),
        Answer::new(200, "application/json").bytes("null"),
        Answer::events().bytes(": ok\n\n"),
        Answer::new(200, "text/html").bytes("<html>"),
        Answer::new(202, "").silent(),
    ] {
        let server = ScriptedHttp::start(move |asked| {
            (asked.method() == "notifications/initialized").then(|| answer.clone())
        })
        .await;
        assert!(outcome(&pool_on(&server)).await.is_ok());
    }
}

#[tokio::test]
async fn an_event_stream_is_read_in_every_form_that_servers_send() {
    type Form = fn(&str, &Asked) -> Answer;
    let forms: [(&str, Form); 23] = [
        ("lf", |json, _| {
            Answer::events().bytes(format!("event: message\ndata: {json}\n\n"))
        }),
        ("crlf", |json, _| {
            Answer::events().bytes(format!("event: message\r\ndata: {json}\r\n\r\n"))
        }),
        ("cr", |json, _| {
            Answer::events().bytes(format!("event: message\rdata: {json}\r\r"))
        }),
        ("crlf, byte by byte", |json, _| {
            let event = format!("data: {json}\r\n\r\n");
            event
                .bytes()
                .fold(Answer::events(), |answer, byte| answer.bytes([byte]))
        }),
        ("several lines", |_, asked| {
            let pretty = serde_json::to_string_pretty(&reply_to(asked)).unwrap();
            Answer::events().bytes(format!("data: {}\n\n", pretty.replace('\n', "\ndata: ")))
        }),
        ("comments", |json, _| {
            Answer::events().bytes(format!(
                ": ping\n\n:\n\n: keepalive\n\nretry: 1000\n\nid: 1\ndata:\n\ndata: {json}\n\n"
            ))
        }),
        ("slow comments", |json, _| {
            (0..5)
                .fold(Answer::events(), |answer, _| {
                    answer.bytes(": ping\n\n").pause(Duration::from_millis(20))
                })
                .bytes(format!("data: {json}\n\n"))
        }),
        ("byte order mark", |json, _| {
            Answer::events().bytes(format!("\u{feff}data: {json}\n\n"))
        }),
        ("no space", |json, _| {
            Answer::events().bytes(format!("event:message\ndata:{json}\n\n"))
        }),
        ("ping event", |json, _| {
            Answer::events().bytes(format!("event: ping\ndata: ping\n\ndata: {json}\n\n"))
        }),
        ("other events", |json, _| {
            Answer::events().bytes(format!(
                "event: ping\ndata: 2026-01-01\n\nevent: endpoint\ndata: /messages\n\ndata: {json}\n\n"
            ))
        }),
        ("no blank line", |json, _| {
            Answer::events().bytes(format!("data: {json}\n"))
        }),
        ("no line end", |json, _| {
            Answer::events().bytes(format!("data: {json}"))
        }),
        ("charset", |json, _| {
            let answer = Answer::events().header("Content-Type", "Text/Event-Stream;charset=UTF-8");
            answer.bytes(format!("data: {json}\n\n"))
        }),
        ("noise", |json, _| {
            Answer::events().bytes(format!(
                "data: hello\n\ndata: [DONE]\n\ndata: {{\"jsonrpc\":\"2.0\"}}\n\ndata: {json}\n\n"
            ))
        }),
        ("after", |json, _| {
            Answer::events().bytes(format!("data: {json}\n\n: bye\n\ndata: [DONE]\n\n"))
        }),
        ("stray reply", |json, _| {
            Answer::events().bytes(format!(
                "data: {{\"jsonrpc\":\"2.0\",\"id\":9999,\"result\":{{}}}}\n\ndata: {json}\n\n"
            ))
        }),
        ("notification", |json, _| {
            let log = json!({"jsonrpc": "2.0", "method": "notifications/message",
                "params": {"level": "info", "data": "x"}});
            Answer::events()
                .event(&log)
                .bytes(format!("data: {json}\n\n"))
        }),
        ("batch", |json, _| {
            Answer::events().bytes(format!("data: [{json}]\n\n"))
        }),
        ("heartbeat", |json, _| {
            Answer::events().bytes(format!(
                "data: {{\"type\":\"heartbeat\"}}\n\ndata: {json}\n\n"
            ))
        }),
        ("priming event", |json, _| {
            Answer::events().bytes(format!("id: 0\nretry: 3000\ndata: \n\ndata: {json}\n\n"))
        }),
        ("id as text", |_, asked| {
            let mut reply = reply_to(asked);
            reply["id"] = json!(reply["id"].to_string());
            Answer::events().event(&reply)
        }),
        ("left open", |json, _| {
            Answer::events().bytes(format!("data: {json}\n\n")).hang()
        }),
    ];
    for (name, form) in forms {
        let server = ScriptedHttp::start(move |asked| {
            let answered = ["initialize", "tools/list", "tools/call", "ping"];
            answered.contains(&asked.method()).then(|| {
                let json = reply_to(asked).to_string();
                form(&json, asked).header("Mcp-Session-Id", "1")
            })
        })
        .await;
        let pool = pool_on(&server);
        let result = outcome(&pool)
            .await
            .unwrap_or_else(|failed| panic!("{name}: {failed:?}"));
        assert_eq!(common::text(&result), "héllo ✓ 漢字 🎉", "{name}");
        within(pool.close()).await;
    }
}

fn reply_to(asked: &Asked) -> Value {
    asked.reply(match asked.method() {
        "initialize" => json!({
            "protocolVersion": asked.body["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        }),
        "tools/call" => json!({"content": [{"type": "text", "text": "héllo ✓ 漢字 🎉"}]}),
        "tools/list" => json!({"tools": []}),
        _ => json!({}),
    })
}
