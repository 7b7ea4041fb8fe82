//! The breaker trips by what its settings say.

use crate::common::wired;
use std::time::Duration;

use mcp_pooled_tools::{
    CallOptions, ConnectionManager, ErrorKind, PoolSettings, PooledTools,
    config::{CircuitBreakerSettings, Lifecycle, Rate, Replay},
};
use mcp_testkit::{Faults, TestServer};
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use tokio::time::sleep;
use wired::{Wired, status};

fn breaker() -> CircuitBreakerSettings {
    CircuitBreakerSettings::new().failure_threshold(1_000)
}

async fn pool(breaker: CircuitBreakerSettings) -> (ConnectionManager, PooledTools) {
    let settings = PoolSettings::new()
        .lifecycle(Lifecycle::Initialize)
        .replay(Replay::Never)
        .circuit_breaker(breaker);
    let server = TestServer::with_faults(Faults {
        exit_mid_call: Some("count".into()),
        ..Faults::default()
    });
    let manager = Wired::new(server).manager(settings).await;
    let tools = manager.tools("test").unwrap();
    (manager, tools)
}

/// A call that takes so long, and is given a second.
async fn call(tools: &PooledTools, ms: u64, limit: Duration) -> Result<(), ErrorKind> {
    let arguments = json!({ "ms": ms }).as_object().cloned().unwrap();
    let params = CallToolRequestParams::new("sleep").with_arguments(arguments);
    let options = CallOptions::new().timeout(limit);
    let outcome = tools.call_tool_with(params, options).await;
    outcome.map(drop).map_err(|error| error.kind())
}

/// Calls of which every second one fails, until one is refused: how many were let through. At most forty.
async fn until_refused(tools: &PooledTools) -> usize {
    for made in 0..40 {
        let outcome = if made % 2 == 0 {
            call(tools, 10, Duration::from_millis(100)).await
        } else {
            sleep(Duration::from_millis(100)).await;
            let lost = tools.call("count", json!({})).await;
            lost.map(drop).map_err(|error| error.kind())
        };
        match outcome {
            Ok(()) | Err(ErrorKind::OutcomeUnknown) => {}
            Err(ErrorKind::CircuitOpen) => return made,
            Err(other) => panic!("{other:?}"),
        }
    }
    40
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_calls_within_the_window_opens_it() {
    for (settings, refused_after) in [
        (breaker(), 10),
        (breaker().minimum_calls(4), 4),
        (
            breaker().minimum_calls(4).failure_rate(Rate::percent(60)),
            40,
        ),
        (
            breaker().minimum_calls(4).failure_rate(Rate::percent(20)),
            4,
        ),
        (breaker().failure_rate(Rate::OFF), 40),
        // It never holds ten.
        (breaker().window(Duration::from_millis(300)), 40),
    ] {
        let (manager, tools) = pool(settings.clone()).await;
        assert_eq!(until_refused(&tools).await, refused_after, "{settings:?}");
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_it_where_that_is_asked_for() {
    let slow = breaker()
        .slow_call_duration(Duration::from_secs(2))
        .minimum_calls(4);
    for (settings, opens) in [
        (slow.clone().slow_call_rate(Rate::percent(50)), true),
        (slow, false),
    ] {
        let (manager, tools) = pool(settings).await;
        let limit = Duration::from_secs(60);
        for ms in [10, 3_000, 10, 3_000] {
            call(&tools, ms, limit).await.unwrap();
        }
        let next = call(&tools, 10, limit).await;
        assert_eq!(
            next,
            if opens {
                Err(ErrorKind::CircuitOpen)
            } else {
                Ok(())
            }
        );
        assert_eq!(status(&manager)["circuit_breaker"]["faults"], json!(0));
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_recovery_longer_than_the_longest_by_default_is_taken() {
    let twenty_minutes = Duration::from_secs(1_200);
    let (manager, tools) = pool(breaker().recovery_timeout(twenty_minutes)).await;
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
    manager.shutdown().await;
}

#[tokio::test]
async fn what_is_no_rate_is_refused_by_name() {
    let wrong = PoolSettings::new().circuit_breaker(breaker().failure_rate(Rate::of(50.0)));
    let error = ConnectionManager::builder()
        .connector("test", Wired::new(TestServer::new()), wrong)
        .build()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(
        error.to_string().contains("circuit_breaker.failure_rate"),
        "{error}"
    );

    let read: Value = json!({ "circuit_breaker": { "failure_rate": "60%", "slow_call_rate": 1 } });
    let settings: PoolSettings = serde_json::from_value(read).unwrap();
    let effective = settings.effective().unwrap().circuit_breaker;
    assert_eq!(effective.failure_rate, Rate::percent(60));
    assert_eq!(effective.slow_call_rate, Rate::percent(100));
}
