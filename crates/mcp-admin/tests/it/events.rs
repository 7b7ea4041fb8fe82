//! The event stream: its content, its readers and its end.

use crate::common;
use std::time::Duration;

use common::{LONG, Served, in_process};
use futures::{Stream, StreamExt};
use mcp_admin::Admin;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, PoolSettings,
    config::{CircuitBreakerSettings, Lifecycle, Replay},
    core::connect::in_process::InProcess,
};
use mcp_testkit::TestServer;
use reqwest::{Method, StatusCode};
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::ServiceExt;

/// A reader of a stream.
struct Reader {
    bytes: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<axum::body::Bytes>> + Send>>,
    text: String,
}

impl Reader {
    async fn open(served: &Served, query: &str) -> Self {
        let path = format!("/api/v1/mcp/events{query}");
        let response = served.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut reader = Self {
            bytes: Box::pin(response.bytes_stream()),
            text: String::new(),
        };
        // It comes at once: from here on nothing is missed.
        let greeting = reader.block().await.expect("a greeting");
        assert!(greeting.starts_with("retry: 2000"), "{greeting}");
        reader
    }

    /// The next block of lines; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block = self.text[..end].to_owned();
                self.text.drain(..end + 2);
                return Some(block);
            }
            let more = timeout(LONG, self.bytes.next())
                .await
                .expect("something comes")?;
            self.text
                .push_str(std::str::from_utf8(&more.ok()?).unwrap());
        }
    }

    /// The next event: its name and its data.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                return Some((name.to_owned(), serde_json::from_str(data).expect("JSON")));
            }
        }
    }

    async fn until(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.next().await.expect("the stream goes on");
            if found == name {
                return data;
            }
        }
    }
}

async fn two_servers() -> ConnectionManager {
    let breaker = CircuitBreakerSettings::new().failure_threshold(1);
    let settings = PoolSettings::new()
        .min_connections(0)
        .replay(Replay::Never)
        .call_timeout(Duration::from_millis(500))
        .circuit_breaker(breaker);
    let mut builder = ConnectionManager::builder();
    for name in ["one", "two"] {
        let server = TestServer::new();
        let connector = InProcess::new(move || server.clone());
        builder = builder.connector(name, connector, settings.clone());
    }
    builder.build().await.unwrap()
}

async fn call(manager: &ConnectionManager, server: &str) {
    let tools = manager.tools(server).unwrap();
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
}

/// A call to which no answer comes in time.
async fn open_breaker(manager: &ConnectionManager, server: &str) {
    let arguments = json!({ "ms": 60_000 }).as_object().cloned().unwrap();
    let hang = CallToolRequestParams::new("sleep").with_arguments(arguments);
    let options = CallOptions::new().timeout(Duration::from_millis(500));
    let tools = manager.tools(server).unwrap();
    tools.call_tool_with(hang, options).await.unwrap_err();
}

#[tokio::test]
async fn sessions_breakers_and_alerts_are_told_as_they_happen() {
    let served = Served::start(two_servers().await, |admin| admin).await;
    let mut all = Reader::open(&served, "").await;
    let mut two = Reader::open(&served, "?server=mcp.two").await;
    call(&served.manager, "one").await;
    let opening = all.until("session_opening").await;
    assert_eq!(opening["server"], "one");
    let opened = all.until("session_opened").await;
    assert_eq!(opened["session"], opening["session"]);
    assert!(opened["took_seconds"].as_f64().unwrap() < 10.0);

    open_breaker(&served.manager, "two").await;
    for reader in [&mut all, &mut two] {
        let breaker = reader.until("breaker").await;
        assert_eq!(
            (&breaker["server"], &breaker["to"]),
            (&json!("two"), &json!("open"))
        );
        let alert = reader.until("alert").await;
        assert_eq!(
            (&alert["change"], &alert["alert"]["server"]),
            (&json!("raised"), &json!("two"))
        );
    }
    served.end().await;
}

#[tokio::test]
async fn a_stream_of_one_server_tells_nothing_of_others() {
    let served = Served::start(two_servers().await, |admin| admin).await;
    let mut two = Reader::open(&served, "?server=two").await;
    call(&served.manager, "one").await;
    call(&served.manager, "two").await;
    let (name, first) = two.next().await.unwrap();
    assert_eq!(
        (name.as_str(), &first["server"]),
        ("session_opening", &json!("two"))
    );
    served.end().await;
}

#[tokio::test]
async fn snapshots_come_at_once_and_again_if_asked_for() {
    let served = Served::start(two_servers().await, |admin| admin).await;
    let mut reader = Reader::open(&served, "?snapshots=true").await;
    let (name, first) = reader.next().await.unwrap();
    assert_eq!(name, "snapshot");
    assert_eq!(first["status"]["total_pools"], 2);
    assert_eq!(first["pools"][0]["server_name"], "one");
    assert_eq!(first["alerts"], json!([]));
    call(&served.manager, "one").await;
    loop {
        let snapshot = reader.until("snapshot").await;
        if snapshot["pools"][0]["requests"] == 1 {
            assert_eq!(snapshot["pools"][0]["pools"][0]["sessions"][0]["calls"], 1);
            break;
        }
    }
    let mut without = Reader::open(&served, "").await;
    call(&served.manager, "two").await;
    assert_eq!(without.next().await.unwrap().0, "session_opening");
    served.end().await;
}

#[tokio::test]
async fn no_snapshot_is_from_before_an_event_that_was_told() {
    let served = Served::start(two_servers().await, |admin| admin).await;
    call(&served.manager, "two").await;
    let mut reader = Reader::open(&served, "?snapshots=true").await;
    let made = |snapshot: Value| snapshot["status"]["uptime_seconds"].as_f64().unwrap();
    let first = made(reader.until("snapshot").await);
    // Another reader has one made, which would do for the next of this one, too.
    loop {
        let mut other = Reader::open(&served, "?snapshots=true").await;
        if made(other.until("snapshot").await) > first {
            break;
        }
    }
    open_breaker(&served.manager, "two").await;
    reader.until("breaker").await;
    let next = reader.until("snapshot").await;
    assert_eq!(next["pools"][1]["circuit_breaker_state"], "open");
    served.end().await;
}

/// Without sockets, which hold many events themselves.
#[tokio::test]
async fn a_reader_that_is_too_slow_loses_the_oldest_and_is_told_how_many() {
    let settings = PoolSettings::new().lifecycle(Lifecycle::Initialize);
    let manager = in_process(&TestServer::new(), settings).await;
    let router = Admin::new(manager.clone()).open_reads(true).router();
    let request = axum::http::Request::get("/api/v1/mcp/events").header("host", "localhost");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let mut stream = response.into_body().into_data_stream();
    let mut next = async || {
        let more = timeout(LONG, stream.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        String::from_utf8(more.to_vec()).unwrap()
    };
    assert!(next().await.starts_with("retry: "));
    manager.check_health("test").await.unwrap();
    assert!(next().await.starts_with("event: session_opening\n"));

    // Opened and probed, of which nothing has been read, and as many probes as are kept.
    for _ in 0..1_024 {
        manager.check_health("test").await.unwrap();
    }
    let missed = next().await;
    assert_eq!(
        missed,
        "event: missed\ndata: {\"count\":2,\"event\":\"missed\"}\n\n"
    );
    for _ in 0..1_024 {
        assert!(next().await.starts_with("event: session_probed\n"));
    }
}

#[tokio::test]
async fn streams_end_with_the_program_and_hold_it_up_no_longer() {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    let served = Served::start(manager, |admin| admin).await;
    let mut readers = Vec::new();
    for query in ["", "?snapshots=true", "?server=test"] {
        readers.push(Reader::open(&served, query).await);
    }
    served.end().await;
    for mut reader in readers {
        while reader.block().await.is_some() {}
    }
}

#[tokio::test]
async fn no_more_streams_than_there_are_places_and_places_come_back() {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    let served = Served::start(manager, |admin| admin).await;
    let mut readers = Vec::new();
    for _ in 0..256 {
        readers.push(Reader::open(&served, "").await);
    }
    let (status, problem) = served.get("/api/v1/mcp/events").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    let (status, _) = served.get("/api/v1/mcp/status").await;
    assert_eq!(status, StatusCode::OK, "the rest is served");

    readers.clear();
    // The server hears of it when it next reads.
    timeout(LONG, async {
        loop {
            let request = served.request(Method::GET, "/api/v1/mcp/events");
            if request.send().await.unwrap().status() == StatusCode::OK {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("places come back");
    served.end().await;
}
