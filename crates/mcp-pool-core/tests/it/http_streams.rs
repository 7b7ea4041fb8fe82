//! Streams and sessions over HTTP: the stream for server messages, streams that outlive their call, the end.

use crate::common;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{call, echo, handler::Keeper, pool_of, quiet, quiet_with, within};
use mcp_pool_core::{
    Handshake, ServerListener, SessionPool,
    connect::{BoxFuture, http::Http},
    rmcp::model::ServerNotification,
    source::{Asked, SourceError, ValueSource},
};
use mcp_testkit::scripted_http::{self, Answer, Live, ScriptedHttp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

fn pool_on(server: &ScriptedHttp) -> SessionPool {
    pool_of(Http::new(server.url()).unwrap(), quiet())
}

/// A server that answers one verb or method as scripted, and all else as it should.
async fn answers(what: &'static str, answer: Answer) -> ScriptedHttp {
    ScriptedHttp::start(move |asked| {
        (asked.verb == what || asked.method() == what).then(|| answer.clone())
    })
    .await
}

async fn none_is_open(server: &ScriptedHttp) {
    while server.open() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
}

fn notification(number: usize) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message",
        "params": {"level": "info", "data": number}})
}

/// Counts what a session hears.
#[derive(Default)]
struct Heard(watch::Sender<usize>);

impl ServerListener for Heard {
    fn on_notification(&self, _: &ServerNotification) {
        self.0.send_modify(|times| *times += 1);
    }
}

/// Another token each time.
#[derive(Clone, Debug, Default)]
struct Tokens(Arc<AtomicUsize>);

impl ValueSource for Tokens {
    fn value(&self, _: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(format!("Bearer {number}")) })
    }
}

fn listening(server: &ScriptedHttp) -> (SessionPool, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let pool = SessionPool::builder("server", Http::new(server.url()).unwrap())
        .options(quiet())
        .handshake(Handshake::default().listener(heard.clone()))
        .build()
        .unwrap();
    (pool, heard)
}

#[tokio::test]
async fn however_a_server_answers_get_its_calls_are_served_on_one_session() {
    for answer in [
        Answer::status(401, "who are you?"),
        Answer::status(404, "Not Found"),
        Answer::json(406, &json!({"error": {"message": "Not Acceptable"}})),
        Answer::status(500, "oops"),
        Answer::new(501, "text/html"),
        Answer::json(200, &json!({"status": "ok"})),
        Answer::new(200, "text/html").bytes("<html>"),
        Answer::events().bytes(": hi\n\n"),
        Answer::events().bytes(": hi\n\n").hang(),
        // Something to read at any time, and never a message.
        (0..1_000).fold(Answer::events(), |answer, _| {
            answer.bytes(": x\n\n").pause(Duration::from_millis(10))
        }),
        Answer::new(200, "text/event-stream")
            .header("Content-Length", "9")
            .cut(),
    ] {
        let shown = format!("{answer:?}");
        let server = answers("GET", answer).await;
        let pool = pool_on(&server);
        for _ in 0..3 {
            let lease = within(pool.acquire()).await.unwrap();
            assert_eq!(echo(&lease).await, "hello", "{shown}");
        }
        assert_eq!(pool.status().opened, 1, "{shown}");
        within(pool.close()).await;
        within(none_is_open(&server)).await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_stream_alone_takes_the_credentials_of_calls() {
    let server = answers("GET", Answer::status(401, "")).await;
    let tokens = Tokens::default();
    let connector = Http::new(server.url()).unwrap();
    let connector = connector
        .header_from("Authorization", Arc::new(tokens.clone()))
        .unwrap();
    let pool = pool_of(connector, quiet());
    for _ in 0..3 {
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(echo(&lease).await, "hello");
        assert!(!lease.credentials_are_stale());
    }
    assert_eq!(pool.status().opened, 1);
    assert_eq!(tokens.0.load(Ordering::Relaxed), 1);
    within(pool.close()).await;
}

#[tokio::test]
async fn the_first_call_waits_for_the_stream_on_which_its_handler_is_spoken_to() {
    let server = answers("GET", Answer::events().bytes(": hi\n\n").hang()).await;
    for _ in 0..20 {
        let pool = pool_on(&server);
        let before = server.asked().len();
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(echo(&lease).await, "hello");
        drop(lease);
        let asked = server.asked().split_off(before);
        let place =
            |wanted: fn(&scripted_http::Asked) -> bool| asked.iter().position(wanted).unwrap();
        assert!(place(|asked| asked.verb == "GET") < place(|asked| asked.method() == "tools/call"));
        within(pool.close()).await;
    }
}

#[tokio::test]
async fn a_server_that_never_answers_get_is_served_all_the_same() {
    let server = answers("GET", Answer::new(200, "").silent()).await;
    let pool = pool_on(&server);
    assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
    pool.evict(pool.sessions()[0].id());
    assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
}

#[tokio::test]
async fn a_reply_that_comes_on_the_other_stream_ends_its_call() {
    let live = Live::new();
    let (stream, replies) = (live.clone(), live.clone());
    let server = ScriptedHttp::start(move |asked| match (asked.verb.as_str(), asked.method()) {
        ("GET", _) => Some(Answer::events().live(&stream)),
        (_, "tools/call") => {
            let result = json!({"content": [{"type": "text", "text": "elsewhere"}]});
            replies.send(format!("data: {}\n\n", asked.reply(result)));
            Some(Answer::new(202, ""))
        }
        _ => None,
    })
    .await;
    let lease = within(pool_on(&server).acquire()).await.unwrap();
    let result = within(call(&lease, "echo", json!({}))).await.unwrap();
    assert_eq!(common::text(&result), "elsewhere");
}

#[tokio::test]
async fn a_call_whose_stream_ends_early_goes_on_from_the_last_event() {
    let id = Mutex::new(Value::Null);
    let server = ScriptedHttp::start(move |asked| {
        let resumed = asked.header("last-event-id") == Some("e1");
        if asked.method() == "tools/call" {
            id.lock().clone_from(asked.id());
            let answer = Answer::events().bytes("id: e1\nretry: 20\ndata:\n\n");
            return Some(answer.event(&notification(1)).cut());
        }
        (asked.verb == "GET" && resumed).then(|| {
            let reply = json!({"content": [{"type": "text", "text": "resumed"}]});
            Answer::events().event(&json!({"jsonrpc": "2.0", "id": *id.lock(), "result": reply}))
        })
    })
    .await;
    let lease = within(pool_on(&server).acquire()).await.unwrap();
    let result = within(call(&lease, "echo", json!({}))).await.unwrap();
    assert_eq!(common::text(&result), "resumed");
    assert_eq!(server.count("tools/call"), 1);
}

/// Such a server knows one session per client, and goes on with every call on the newest.
#[tokio::test]
async fn one_caller_of_a_pool_with_a_minimum_of_two_has_one_session_on_which_its_calls_go_on() {
    let newest = Arc::new(Mutex::new(String::new()));
    let called = Arc::new(Mutex::new(Value::Null));
    let (session, id) = (Arc::clone(&newest), Arc::clone(&called));
    let server = ScriptedHttp::start(move |asked| {
        if let Some(named) = asked.header("mcp-session-id")
            && asked.method() == "notifications/initialized"
        {
            named.clone_into(&mut session.lock());
        }
        if asked.method() == "tools/call" {
            *id.lock() = asked.id().clone();
            return Some(Answer::events().bytes("id: e1\nretry: 20\ndata:\n\n"));
        }
        let is_newest = asked.header("mcp-session-id") == Some(session.lock().as_str());
        (asked.verb == "GET" && asked.header("last-event-id").is_some()).then(|| {
            let result = json!({"content": [{"type": "text", "text": "resumed"}]});
            let reply = json!({"jsonrpc": "2.0", "id": *id.lock(), "result": result});
            match is_newest {
                true => Answer::events().event(&reply),
                false => Answer::events().bytes(": hi\n\n").hang(),
            }
        })
    })
    .await;
    let options = common::options(|options| options.min_connections = 2);
    let pool = pool_of(Http::new(server.url()).unwrap(), options);
    for _ in 0..10 {
        let lease = within(pool.acquire()).await.unwrap();
        let result = within(call(&lease, "echo", json!({}))).await.unwrap();
        assert_eq!(common::text(&result), "resumed");
    }
    assert_eq!(pool.status().opened, 1);
    within(pool.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_is_given_all_notifications_of_its_call_in_order_before_the_call_ends() {
    const LOGGED: usize = 100;
    let server = ScriptedHttp::start(|asked| {
        (asked.method() == "tools/call").then(|| {
            let reply = asked.reply(json!({"content": [{"type": "text", "text": "done"}]}));
            let events = (0..LOGGED)
                .map(notification)
                .chain([reply])
                .map(|message| format!("data: {message}\n\n"));
            match asked.body["params"]["name"].as_str() {
                // In one piece, event by event, and in pieces that end within events.
                Some("whole") => Answer::events().bytes(events.collect::<String>()),
                Some("events") => events.fold(Answer::events(), Answer::bytes),
                _ => {
                    let text = events.collect::<String>();
                    text.as_bytes()
                        .chunks(100)
                        .fold(Answer::events(), Answer::bytes)
                }
            }
        })
    })
    .await;
    let pool = pool_on(&server);
    for tool in ["whole", "events", "pieces"].repeat(5) {
        let lease = within(pool.acquire()).await.unwrap();
        let keeper = Keeper::default();
        let lent = lease.lend_handler(Arc::new(keeper.clone()));
        within(call(&lease, tool, json!({}))).await.unwrap();
        within(lent.flush(common::SOON)).await;
        let expected: Vec<_> = (0..LOGGED).map(Value::from).collect();
        assert_eq!(keeper.take(), expected, "{tool}");
    }
    within(pool.close()).await;
}

#[tokio::test]
async fn the_stream_of_a_call_that_was_answered_is_closed_though_the_server_leaves_it_open() {
    let server = ScriptedHttp::start(|asked| {
        let result = json!({"content": [{"type": "text", "text": "hello"}]});
        (asked.method() == "tools/call")
            .then(|| Answer::events().event(&asked.reply(result)).hang())
    })
    .await;
    let pool = pool_on(&server);
    let lease = within(pool.acquire()).await.unwrap();
    for _ in 0..8 {
        assert_eq!(echo(&lease).await, "hello");
    }
    within(none_is_open(&server)).await;
}

#[tokio::test]
async fn the_stream_of_a_call_that_was_given_up_is_closed_though_the_server_goes_on() {
    let flood = format!("data: {}\n\n", notification(1));
    let server = answers("tools/call", Answer::events().flood(&flood)).await;
    let (pool, heard) = listening(&server);
    let lease = within(pool.acquire()).await.unwrap();
    let mut times = heard.0.subscribe();
    tokio::select! {
        answer = call(&lease, "echo", json!({})) => panic!("answered: {answer:?}"),
        heard = times.wait_for(|times| *times > 100) => drop(heard.unwrap()),
    }
    drop(lease);
    within(none_is_open(&server)).await;
    // The session is none the worse.
    assert!(within(pool.probe()).await.unwrap().alive);
}

#[tokio::test]
async fn the_stream_of_a_handshake_that_was_given_up_is_closed_though_the_server_goes_on() {
    let flood = format!("data: {}\n\n", notification(1));
    for answer in [
        Answer::events().flood(&flood),
        Answer::events().bytes(": hi\n\n").hang(),
        Answer::new(200, "").silent(),
    ] {
        let server = answers("initialize", answer).await;
        let options = quiet_with(|options| options.connection_timeout = Duration::from_millis(200));
        let pool = pool_of(Http::new(server.url()).unwrap(), options);
        within(pool.acquire()).await.unwrap_err();
        within(pool.close()).await;
        within(none_is_open(&server)).await;
    }
}

#[tokio::test]
async fn a_server_that_never_stops_talking_is_read_at_a_bounded_rate_and_others_are_served() {
    let flood = format!("data: {}\n\n", notification(1)).repeat(100);
    let server = answers("GET", Answer::events().flood(&flood)).await;
    let (pool, heard) = listening(&server);
    let quiet_server = ScriptedHttp::start(|_| None).await;
    let neighbour = pool_on(&quiet_server);
    let began = Instant::now();
    let lease = within(pool.acquire()).await.unwrap();
    let mut times = heard.0.subscribe();
    within(times.wait_for(|times| *times > 15_000))
        .await
        .unwrap();
    for _ in 0..20 {
        let other = within(neighbour.acquire()).await.unwrap();
        assert_eq!(echo(&other).await, "hello");
        assert_eq!(echo(&lease).await, "hello");
    }
    sleep(Duration::from_secs(1)).await;
    let (came, took) = (*heard.0.borrow(), began.elapsed());
    // Twenty thousand at once and ten thousand a second, and what was on its way.
    let allowed = 20_000.0 + 10_000.0 * took.as_secs_f64() + 1_000.0;
    assert!((came as f64) < allowed, "{came} in {took:?}");
}

#[tokio::test]
async fn a_session_ends_in_bounded_time_however_the_server_answers_delete() {
    for answer in [
        Answer::new(405, ""),
        Answer::new(501, "text/html").bytes("Unsupported method"),
        Answer::new(404, ""),
        Answer::new(200, "").silent(),
        Answer::new(200, "").header("Content-Length", "9").cut(),
    ] {
        let server = answers("DELETE", answer).await;
        let pool = pool_on(&server);
        assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
        within(pool.close()).await;
        assert_eq!(server.count("DELETE"), 1);
    }
}
