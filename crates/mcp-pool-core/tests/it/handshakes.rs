//! Opening a session with servers that do not take a handshake as the specification says.

use crate::common;
use std::{sync::Arc, time::Duration};

use common::{assert_balanced, attempt_failed, observed, pool_of, quiet, quiet_with};
use mcp_pool_core::{
    AcquireError, Connected, Connector, Era, EraMemory, Findings, Handshake, LifecycleMode,
    OpenError, OpenErrorKind, Phase, PoolOptions, SessionHandler, SessionPool,
    connect::{BoxFuture, lines::LineTransport},
    rmcp::model::ProtocolVersion,
};
use mcp_testkit::Lateness;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::{Instant, sleep},
};

/// What a server does about a message.
enum Act {
    Send(Value),
    Wait(Duration),
    End,
}

type Script = dyn Fn(usize, &Value) -> Vec<Act> + Send + Sync;

/// Connects to servers that answer line by line as a script says. It is given the number of the connection, from 1.
#[derive(Clone)]
struct Wire {
    script: Arc<Script>,
    connections: Arc<Mutex<usize>>,
    /// Every message, with the number of its connection.
    heard: Arc<Mutex<Vec<(usize, Value)>>>,
}

impl Wire {
    fn new(script: impl Fn(usize, &Value) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            connections: Arc::default(),
            heard: Arc::default(),
        }
    }

    /// A script for the handshake's first request alone; `initialize` is answered as it should be.
    fn discovering(discover: impl Fn(&Value) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::new(move |_, message| match method(message) {
            "server/discover" => discover(message),
            _ => legacy(message),
        })
    }

    fn heard(&self) -> Vec<(usize, String)> {
        let heard = self.heard.lock();
        let methods = heard.iter().map(|(at, message)| (*at, method(message)));
        methods.map(|(at, method)| (at, method.into())).collect()
    }

    fn offered(&self) -> Vec<Value> {
        let heard = self.heard.lock();
        let initialize = heard.iter().filter(|(_, m)| method(m) == "initialize");
        initialize
            .map(|(_, message)| message["params"]["protocolVersion"].clone())
            .collect()
    }
}

impl Connector for Wire {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let number = {
                let mut connections = self.connections.lock();
                *connections += 1;
                *connections
            };
            let (script, heard) = (Arc::clone(&self.script), Arc::clone(&self.heard));
            tokio::spawn(async move {
                let (reader, mut writer) = tokio::io::split(theirs);
                let mut lines = BufReader::new(reader).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let message: Value = serde_json::from_str(&line).unwrap();
                    heard.lock().push((number, message.clone()));
                    for act in script(number, &message) {
                        match act {
                            Act::Send(value) => {
                                let line = format!("{value}\n");
                                let _ = writer.write_all(line.as_bytes()).await;
                            }
                            Act::Wait(time) => sleep(time).await,
                            Act::End => return,
                        }
                    }
                }
            });
            let findings = Arc::new(Findings::default());
            let (reader, writer) = tokio::io::split(ours);
            let transport = LineTransport::new(reader, writer, 1 << 20, Arc::clone(&findings));
            handshake.perform(transport, findings).await
        })
    }
}

fn method(message: &Value) -> &str {
    message["method"].as_str().unwrap_or_default()
}

fn reply(message: &Value, result: Value) -> Vec<Act> {
    vec![Act::Send(
        json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
    )]
}

fn refuse(message: &Value, code: i32, text: &str) -> Vec<Act> {
    let error = json!({"code": code, "message": text});
    vec![Act::Send(
        json!({"jsonrpc": "2.0", "id": message["id"], "error": error}),
    )]
}

fn initialized(version: &str) -> Value {
    json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}})
}

fn discovered(versions: &[&str]) -> Value {
    json!({
        "resultType": "complete", "supportedVersions": versions, "capabilities": {"tools": {}},
        "ttlMs": 0, "cacheScope": "public",
    })
}

/// A server of the legacy era that behaves.
fn legacy(message: &Value) -> Vec<Act> {
    match method(message) {
        "initialize" => reply(message, initialized("2025-11-25")),
        _ if message["id"].is_null() => Vec::new(),
        _ => refuse(message, -32601, "Method not found"),
    }
}

/// A server of the modern era that behaves.
fn modern(message: &Value) -> Vec<Act> {
    match method(message) {
        "server/discover" => reply(message, discovered(&["2026-07-28"])),
        _ if message["id"].is_null() => Vec::new(),
        _ => refuse(message, -32601, "Method not found"),
    }
}

async fn open(wire: &Wire) -> (SessionPool, Era) {
    open_with(wire, quiet()).await
}

async fn open_with(wire: &Wire, options: PoolOptions) -> (SessionPool, Era) {
    let pool = pool_of(wire.clone(), options);
    let lease = pool.acquire().await.unwrap();
    let era = lease.session().era();
    drop(lease);
    assert_balanced(&pool);
    (pool, era)
}

async fn failure(wire: &Wire) -> Arc<OpenError> {
    let options = quiet_with(|options| options.retry_attempts = 3);
    match pool_of(wire.clone(), options).acquire().await.unwrap_err() {
        AcquireError::Open { cause, .. } => cause,
        other => panic!("not a failed opening: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_on_discover_is_opened_by_initialize_and_remembered() {
    let wire = Wire::discovering(|_| vec![Act::End]);
    let (pool, events) = observed(wire.clone(), quiet());
    let began = Instant::now();
    for _ in 0..2 {
        assert_eq!(pool.acquire().await.unwrap().session().era(), Era::Legacy);
        pool.drain().await;
    }
    let heard = wire.heard();
    let asked: Vec<_> = heard.iter().map(|(at, m)| (*at, m.as_str())).collect();
    assert_eq!(
        asked,
        [
            (1, "server/discover"),
            (2, "initialize"),
            (2, "notifications/initialized"),
            (3, "initialize"),
            (3, "notifications/initialized"),
        ]
    );
    assert_eq!(events.count(attempt_failed), 0);
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_reply_to_discover_that_makes_no_sense_means_legacy() {
    let replies = [
        json!({}),
        json!(null),
        json!([]),
        json!({"content": [{"type": "text", "text": "Unknown method"}], "isError": true}),
        initialized("2025-06-18"),
        discovered(&["2025-11-25", "2025-06-18"]),
    ];
    for result in replies {
        let shown = result.to_string();
        let wire = Wire::discovering(move |message| reply(message, result.clone()));
        assert_eq!(open(&wire).await.1, Era::Legacy, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_for_discover_means_legacy_whatever_its_code() {
    for code in [-32601, -32600, -32602, -32603, -32700, -32002, 0] {
        let wire = Wire::discovering(move |message| refuse(message, code, "no"));
        assert_eq!(open(&wire).await.1, Era::Legacy, "{code}");
        assert_eq!(*wire.connections.lock(), 1, "{code}");
    }
    // Without an id, and twice.
    for (id, times) in [(json!(null), 1), (json!(1 << 30), 2)] {
        let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}});
        let wire =
            Wire::discovering(move |_| (0..times).map(|_| Act::Send(error.clone())).collect());
        assert_eq!(open(&wire).await.1, Era::Legacy, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unsupported_version_with_handshake_versions_only_means_legacy() {
    for supported in [json!(["2025-06-18", "2024-11-05"]), json!([])] {
        let wire = Wire::discovering(move |message| {
            let data = json!({"supported": supported, "requested": "2026-07-28"});
            let error = json!({"code": -32022, "message": "Unsupported", "data": data});
            vec![Act::Send(
                json!({"jsonrpc": "2.0", "id": message["id"], "error": error}),
            )]
        });
        assert_eq!(open(&wire).await.1, Era::Legacy);
    }
    // There is nothing to go back to.
    let wire = Wire::discovering(|message| reply(message, discovered(&["2027-03-01"])));
    let error = failure(&wire).await;
    assert_eq!(error.kind(), OpenErrorKind::NoCommonVersion);
    assert!(error.to_string().contains("2027-03-01"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn silence_on_discover_costs_a_tenth_of_the_time() {
    for (timeout, wait) in [(30, 3.0), (8, 0.8)] {
        let wire = Wire::discovering(|_| Vec::new());
        let began = Instant::now();
        let options =
            quiet_with(|options| options.connection_timeout = Duration::from_secs(timeout));
        assert_eq!(open_with(&wire, options).await.1, Era::Legacy);
        let took = began.elapsed().as_secs_f64();
        assert!((wait..wait + 0.1).contains(&took), "{took}");
        assert_eq!(*wire.connections.lock(), 1, "the same process goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn every_initialize_offers_the_newest_version_that_has_it() {
    for mode in [LifecycleMode::Auto, LifecycleMode::Initialize] {
        let wire = Wire::new(|_, message| match method(message) {
            // Repeats whatever it is offered.
            "initialize" => {
                let offered = message["params"]["protocolVersion"].as_str().unwrap();
                reply(message, initialized(offered))
            }
            _ => legacy(message),
        });
        let handshake = Handshake::new(mode, EraMemory::default(), SessionHandler::default());
        let pool = SessionPool::builder("server", wire.clone())
            .handshake(handshake)
            .options(quiet())
            .build()
            .unwrap();
        for _ in 0..3 {
            assert_eq!(pool.acquire().await.unwrap().session().era(), Era::Legacy);
            pool.drain().await;
        }
        assert_eq!(wire.offered(), vec![json!("2025-11-25"); 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_initialize_has_opened_is_legacy_whatever_the_reply_says() {
    for version in [
        "2026-07-28",
        "2027-01-01",
        "DRAFT-2026-v1",
        "1.0",
        "2024-10-07",
    ] {
        let wire = Wire::new(move |_, message| match method(message) {
            "initialize" => reply(message, initialized(version)),
            _ => legacy(message),
        });
        assert_eq!(open(&wire).await.1, Era::Legacy, "{version}");
        assert_eq!(wire.heard().last().unwrap().1, "notifications/initialized");
    }
}

#[tokio::test(start_paused = true)]
async fn the_version_to_offer_can_be_set() {
    for (version, script, era) in [
        ("2025-03-26", legacy as fn(&Value) -> Vec<Act>, Era::Legacy),
        ("2026-07-28", modern, Era::Modern),
    ] {
        let wire = Wire::new(move |_, message| script(message));
        let parsed: ProtocolVersion = serde_json::from_value(json!(version)).unwrap();
        let handshake = Handshake::default().protocol_version(parsed);
        let pool = SessionPool::builder("server", wire.clone())
            .handshake(handshake)
            .options(quiet())
            .build()
            .unwrap();
        assert_eq!(pool.acquire().await.unwrap().session().era(), era);
        let (_, first) = wire.heard.lock()[0].clone();
        assert!(first.to_string().contains(version), "{first}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_reply_to_initialize_is_final_and_names_its_field() {
    let with = |field: &str, value: Value| {
        let mut result = initialized("2025-11-25");
        result[field] = value;
        result
    };
    let without = |field: &str| {
        let mut result = initialized("2025-11-25");
        result.as_object_mut().unwrap().remove(field);
        result
    };
    for (result, named) in [
        (
            with("capabilities", json!({"tools": []})),
            "`capabilities.tools`",
        ),
        (
            with("capabilities", json!({"tools": {"listChanged": "true"}})),
            "`capabilities.tools.listChanged`",
        ),
        (with("capabilities", json!(null)), "`capabilities`"),
        (with("serverInfo", json!({"name": "x"})), "`version`"),
        (with("protocolVersion", json!(1)), "`protocolVersion`"),
        (without("serverInfo"), "`serverInfo`"),
        (without("protocolVersion"), "`protocolVersion`"),
        (json!("ok"), "no object"),
    ] {
        let shown = result.to_string();
        let wire = Wire::new(move |_, message| match method(message) {
            "initialize" => reply(message, result.clone()),
            _ => legacy(message),
        });
        let error = failure(&wire).await;
        let text = error.to_string();
        assert_eq!(error.kind(), OpenErrorKind::Incompatible, "{shown}: {text}");
        assert!(
            text.contains("`initialize`") && text.contains(named),
            "{shown}: {text}"
        );
        assert_eq!(*wire.connections.lock(), 1, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_under_another_id_is_named() {
    let wire = Wire::new(|_, message| match method(message) {
        "initialize" => vec![Act::Send(
            json!({"jsonrpc": "2.0", "id": 9999, "result": initialized("2025-11-25")}),
        )],
        _ => legacy(message),
    });
    let text = failure(&wire).await.to_string();
    assert!(
        text.contains("`initialize`") && text.contains("9999"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_id_that_comes_back_as_text_is_the_same() {
    let wire = Wire::new(|_, message| match method(message) {
        "initialize" => {
            let id = message["id"].to_string();
            let result = initialized("2025-11-25");
            vec![Act::Send(
                json!({"jsonrpc": "2.0", "id": id, "result": result}),
            )]
        }
        _ => legacy(message),
    });
    assert_eq!(open(&wire).await.1, Era::Legacy);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_initialize_is_quoted_with_the_versions_that_it_names() {
    let wire = Wire::new(|_, message| match method(message) {
        "initialize" => {
            let data = json!({"supported": ["2024-11-05"]});
            let error = json!({"code": -32602, "message": "Unsupported", "data": data});
            vec![Act::Send(
                json!({"jsonrpc": "2.0", "id": message["id"], "error": error}),
            )]
        }
        _ => legacy(message),
    });
    let error = failure(&wire).await;
    assert_eq!(error.kind(), OpenErrorKind::NoCommonVersion);
    let text = error.to_string();
    assert!(
        text.contains("Unsupported (-32602)") && text.contains("2024-11-05"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_discovery_that_does_not_say_how_long_to_keep_it_is_one() {
    for (field, value) in [
        ("ttlMs", json!(null)),
        ("ttlMs", json!(-1)),
        ("ttlMs", json!(1000.5)),
        ("cacheScope", json!("session")),
        ("resultType", json!(null)),
    ] {
        let mut result = discovered(&["2026-07-28", "2025-11-25"]);
        match &value {
            Value::Null => drop(result.as_object_mut().unwrap().remove(field)),
            other => result[field] = other.clone(),
        }
        let wire = Wire::new(move |_, message| match method(message) {
            "server/discover" => reply(message, result.clone()),
            _ => modern(message),
        });
        assert_eq!(open(&wire).await.1, Era::Modern, "{field} {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_initialize_is_said_too() {
    let mut result = discovered(&["2026-07-28"]);
    result["capabilities"] = json!("none");
    let wire = Wire::new(move |_, message| match method(message) {
        "server/discover" => reply(message, result.clone()),
        _ => modern(message),
    });
    let text = failure(&wire).await.to_string();
    assert!(
        text.contains("`initialize`") && text.contains("`capabilities`"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_slowly_is_opened_in_either_era() {
    const START: Duration = Duration::from_secs(12);
    let slow = |behaves: fn(&Value) -> Vec<Act>| {
        let started = Mutex::new(false);
        Wire::new(move |_, message| {
            let wait = !std::mem::replace(&mut *started.lock(), true);
            let mut acts = behaves(message);
            if wait {
                acts.insert(0, Act::Wait(START));
            }
            acts
        })
    };
    // The last of them knows both.
    let both = |message: &Value| match method(message) {
        "server/discover" => modern(message),
        _ => legacy(message),
    };
    for (behaves, era) in [
        (legacy as fn(&Value) -> Vec<Act>, Era::Legacy),
        (modern, Era::Modern),
        (both, Era::Legacy),
    ] {
        let wire = slow(behaves);
        let began = Instant::now();
        assert_eq!(open(&wire).await.1, era);
        assert!((START..START + Duration::from_secs(1)).contains(&began.elapsed()));
        assert_eq!(*wire.connections.lock(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_opening_outlives_the_caller_who_asked_for_it() {
    const START: Duration = Duration::from_secs(40);
    let wire = Wire::new(|_, message| {
        let mut acts = modern(message);
        if method(message) == "server/discover" {
            acts.insert(0, Act::Wait(START));
        }
        acts
    });
    let pool = pool_of(wire.clone(), quiet());
    let began = Instant::now();
    match pool.acquire().await.unwrap_err() {
        AcquireError::Timeout { phase, cause, .. } => {
            assert_eq!(phase, Phase::Handshake);
            let cause = cause.unwrap().to_string();
            assert!(cause.contains("still starting"), "{cause}");
        }
        other => panic!("not a timeout: {other:?}"),
    }
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    drop(pool.acquire().await.unwrap());
    assert!(began.elapsed() < START + Duration::from_secs(1));
    assert_eq!(*wire.connections.lock(), 1);
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn an_opening_ends_after_four_times_the_time_of_a_caller() {
    let wire = Wire::new(|_, _| Vec::new());
    let (pool, events) = observed(wire.clone(), quiet());
    let began = Instant::now();
    for _ in 0..3 {
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Timeout { .. }), "{error:?}");
    }
    sleep(Duration::from_secs(10)).await;
    let AcquireError::Open { cause, .. } = pool.acquire().await.unwrap_err() else {
        panic!("the opening goes on");
    };
    assert_eq!(cause.kind(), OpenErrorKind::Timeout);
    assert_eq!(began.elapsed(), Duration::from_secs(120));
    assert_eq!(events.count(attempt_failed), 1);
    assert_eq!(*wire.connections.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_to_discover_is_not_taken_for_another() {
    let wire = Wire::new(|_, message| match method(message) {
        "server/discover" => Vec::new(),
        "initialize" => {
            let late = json!({"jsonrpc": "2.0", "id": 1 << 30, "error": {"code": -32601, "message": "late"}});
            let mut acts = vec![Act::Send(late)];
            acts.extend(legacy(message));
            acts
        }
        "tools/list" => reply(message, json!({"tools": []})),
        _ => legacy(message),
    });
    let pool = pool_of(wire, quiet());
    let lease = pool.acquire().await.unwrap();
    assert_eq!(lease.session().era(), Era::Legacy);
    lease.peer().list_tools(None).await.unwrap();
}

mod over_http {
    use mcp_pool_core::connect::http::Http;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// What a server answers to a POST: events, or nothing at all.
    type Answers = fn(&Value) -> Option<Vec<Value>>;

    async fn serve(answers: Answers) -> Http {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, answers));
            }
        });
        Http::new(url).unwrap()
    }

    async fn answer(mut stream: TcpStream, answers: Answers) {
        let mut received = Vec::new();
        while stream
            .read_buf(&mut received)
            .await
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&received).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let named = name.eq_ignore_ascii_case("content-length");
                named.then(|| value.parse().unwrap())
            });
            if body.len() < length.unwrap_or(0) {
                continue;
            }
            received.clear();
            let response = match serde_json::from_str::<Value>(body) {
                Err(_) => "HTTP/1.1 405 No\r\ncontent-length: 0\r\n\r\n".into(),
                Ok(message) if message["id"].is_null() => {
                    "HTTP/1.1 202 Yes\r\ncontent-length: 0\r\n\r\n".into()
                }
                Ok(message) => {
                    let Some(events) = answers(&message) else {
                        continue;
                    };
                    let events: String = events
                        .iter()
                        .map(|event| format!("data: {event}\n\n"))
                        .collect();
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{events}",
                        events.len()
                    )
                }
            };
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    }

    fn sent(acts: Vec<Act>) -> Vec<Value> {
        let values = acts.into_iter().filter_map(|act| match act {
            Act::Send(value) => Some(value),
            _ => None,
        });
        values.collect()
    }

    #[tokio::test]
    async fn silence_on_discover_costs_a_tenth_of_the_time() {
        let server = serve(|message| match method(message) {
            "server/discover" => None,
            _ => Some(sent(legacy(message))),
        });
        let options = quiet_with(|options| options.connection_timeout = Duration::from_secs(5));
        let (pool, events) = observed(server.await, options);
        let (machine, began) = (Lateness::watch(), Instant::now());
        let lease = common::within(pool.acquire()).await.unwrap();
        assert_eq!(lease.session().era(), Era::Legacy);
        machine.assert_within(Duration::from_secs(3), began.elapsed());
        assert_eq!(events.count(attempt_failed), 0);
    }

    #[tokio::test]
    async fn a_reply_under_another_id_in_the_stream_is_passed_over() {
        let server = serve(|message| {
            let stray = json!({"jsonrpc": "2.0", "id": 9999, "result": {}});
            let mut events = sent(legacy(message));
            if method(message) == "initialize" {
                events.insert(0, stray);
            }
            Some(events)
        });
        let pool = pool_of(server.await, quiet());
        let lease = common::within(pool.acquire()).await.unwrap();
        assert_eq!(lease.session().era(), Era::Legacy);
    }
}
