//! An alert from its cause to its end, by callback, route and stream: under virtual time, at the exact threshold, and
//! once.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use futures::StreamExt;
use mcp_admin::Admin;
use mcp_pooled_tools::{
    AlertEvent, AlertRules, CallOptions, ConnectionManager, PoolSettings,
    config::{CircuitBreakerSettings, Rate, Replay},
    core::connect::in_process::InProcess,
};
use mcp_testkit::TestServer;
use parking_lot::Mutex;
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::ServiceExt;

const SECOND: Duration = Duration::from_secs(1);

/// Alert changes received by the callback and by the stream.
struct Received {
    router: Router,
    manager: ConnectionManager,
    called: Arc<Mutex<Vec<AlertEvent>>>,
    streamed: Arc<Mutex<Vec<Value>>>,
}

impl Received {
    async fn start() -> Self {
        let breaker = CircuitBreakerSettings::new()
            .failure_threshold(1_000)
            .failure_rate(Rate::OFF)
            .recovery_timeout(600 * SECOND);
        let settings = PoolSettings::new()
            .min_connections(0)
            .replay(Replay::Never)
            .call_timeout(Duration::from_millis(10))
            .circuit_breaker(breaker);
        let mut rules = AlertRules::default();
        rules.resolve_after = 30 * SECOND;
        let called: Arc<Mutex<Vec<AlertEvent>>> = Arc::default();
        let server = TestServer::new();
        let manager = ConnectionManager::builder()
            .connector("test", InProcess::new(move || server.clone()), settings)
            .alert_rules(rules)
            .on_alert({
                let called = Arc::clone(&called);
                move |change| called.lock().push(change.clone())
            })
            .build()
            .await
            .unwrap();
        // Without sockets, which know nothing of virtual time.
        let router = Admin::new(manager.clone()).open_reads(true).router();
        let streamed = Arc::default();
        let reported = Self {
            router,
            manager,
            called,
            streamed: Arc::clone(&streamed),
        };
        let mut events = reported
            .ask("/api/v1/mcp/events?server=test")
            .await
            .into_data_stream();
        tokio::spawn(async move {
            let mut text = String::new();
            while let Some(Ok(more)) = events.next().await {
                text.push_str(std::str::from_utf8(&more).unwrap());
                while let Some(end) = text.find("\n\n") {
                    let block: String = text.drain(..end + 2).collect();
                    if block.starts_with("event: alert\n") {
                        let data = block.lines().find_map(|line| line.strip_prefix("data: "));
                        let event = serde_json::from_str(data.unwrap()).unwrap();
                        streamed.lock().push(event);
                    }
                }
            }
        });
        reported
    }

    async fn ask(&self, path: &str) -> Body {
        let request = Request::get(path).header("host", "localhost");
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.into_body()
    }

    async fn json(&self, path: &str) -> Value {
        let body = to_bytes(self.ask(path).await, usize::MAX).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    async fn call(&self, answered: u32, unanswered: u32) {
        let tools = self.manager.tools("test").unwrap();
        for _ in 0..answered {
            let echo = json!({ "message": "m" });
            tools.call("echo", echo).await.unwrap();
        }
        for _ in 0..unanswered {
            let arguments = json!({ "ms": 60_000 }).as_object().cloned().unwrap();
            let hang = CallToolRequestParams::new("sleep").with_arguments(arguments);
            let options = CallOptions::new().timeout(Duration::from_millis(10));
            tools.call_tool_with(hang, options).await.unwrap_err();
        }
    }

    /// Each change, as the stream names it. Callback and stream agree.
    fn changes(&self) -> Vec<String> {
        let streamed = self.streamed.lock();
        let changes: Vec<_> = streamed
            .iter()
            .map(|event| {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let alert = &event["alert"];
                [&event["change"], &alert["severity"], &alert["kind"]]
                    .map(text)
                    .join(" ")
            })
            .collect();
        let called = self.called.lock();
        let by_callback: Vec<_> = called
            .iter()
            .map(|change| {
                let word = match change {
                    AlertEvent::Raised(_) => "raised",
                    AlertEvent::Escalated(_) => "escalated",
                    AlertEvent::Resolved(_) => "resolved",
                    _ => "?",
                };
                let alert = change.alert();
                format!("{word} {} {}", alert.severity, alert.kind)
            })
            .collect();
        assert_eq!(changes, by_callback);
        changes
    }
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_raised_once_grows_worse_once_and_is_resolved_once() {
    let reported = Received::start().await;
    // One in ten is the threshold, and not above it.
    reported.call(18, 2).await;
    sleep(6 * SECOND).await;
    assert_eq!(reported.changes(), [""; 0]);
    assert_eq!(reported.json("/api/v1/mcp/alerts").await, json!([]));

    reported.call(0, 1).await;
    sleep(6 * SECOND).await;
    assert_eq!(reported.changes(), ["raised warning high_error_rate"]);
    let first = reported.json("/api/v1/mcp/alerts?active=true").await;
    assert_eq!(first.as_array().unwrap().len(), 1);
    assert_eq!(first[0]["threshold"], 0.1);
    let status = reported.json("/api/v1/mcp/status").await;
    assert_eq!(
        status["active_alerts"],
        json!({ "warning": 1, "critical": 0 })
    );

    // It goes on without further reports; its values are current.
    sleep(12 * SECOND).await;
    assert_eq!(reported.changes().len(), 1);
    let second = reported.json("/api/v1/mcp/alerts?active=true").await;
    assert_eq!(second[0]["raised_at"], first[0]["raised_at"]);

    // One in five is critical from the threshold on: 6 of 30.
    reported.call(6, 3).await;
    sleep(6 * SECOND).await;
    assert_eq!(
        reported.changes()[1..],
        ["escalated critical high_error_rate"]
    );
    let critical = reported.json("/api/v1/mcp/alerts?severity=critical").await;
    assert_eq!(critical[0]["value"], 0.2);
    assert_eq!(critical[0]["raised_at"], first[0]["raised_at"]);

    // The window goes past the first calls, and too few are left to say anything. Half a minute later it is over.
    sleep(50 * SECOND).await;
    assert_eq!(
        reported.changes().len(),
        2,
        "its condition has been gone for a moment only"
    );
    sleep(40 * SECOND).await;
    assert_eq!(
        reported.changes()[2..],
        ["resolved critical high_error_rate"]
    );
    assert_eq!(
        reported.json("/api/v1/mcp/alerts?active=true").await,
        json!([])
    );
    let past = reported.json("/api/v1/mcp/alerts?active=false").await;
    assert!(past[0]["resolved_at"].is_string(), "{past}");
    sleep(300 * SECOND).await;
    assert_eq!(reported.changes().len(), 3);
    reported.manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_and_goes_rings_once() {
    let reported = Received::start().await;
    // Above the threshold, below it, above it again, each for less than half a minute.
    for (answered, unanswered) in [(5, 5), (100, 0), (0, 20), (200, 0), (0, 30), (300, 0)] {
        reported.call(answered, unanswered).await;
        sleep(6 * SECOND).await;
    }
    // Sessions on which nothing was answered were retired, which is another matter.
    let changes = reported.changes();
    let of_errors: Vec<_> = changes
        .iter()
        .filter(|change| change.ends_with("error_rate"))
        .collect();
    assert_eq!(of_errors, ["raised critical high_error_rate"]);
    reported.manager.shutdown().await;
}
