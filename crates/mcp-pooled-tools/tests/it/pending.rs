//! A request that is sent now and awaited later.

use crate::common;
use std::time::Duration;

use common::in_process;
use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, PoolSettings, PooledTools, Sharing, breaker::State,
    config::CircuitBreakerSettings,
};
use mcp_testkit::TestServer;
use rmcp::{
    model::{CallToolRequest, CallToolRequestParams, ClientRequest, ServerResult},
    service::PeerRequestOptions,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

async fn tools(settings: PoolSettings) -> (ConnectionManager, PooledTools) {
    let settings = settings.over(
        PoolSettings::new()
            .sharing(Sharing::Exclusive)
            .max_connections(1)
            .call_timeout(60 * SECOND),
    );
    let manager = in_process(&TestServer::new(), settings).await;
    let tools = manager.tools("test").unwrap();
    (manager, tools)
}

fn sleeping(ms: u64) -> ClientRequest {
    let arguments = json!({ "ms": ms }).as_object().cloned().unwrap();
    let params = CallToolRequestParams::new("sleep").with_arguments(arguments);
    CallToolRequest::new(params).into()
}

fn within(limit: Duration) -> PeerRequestOptions {
    PeerRequestOptions::with_timeout(limit)
}

fn calls(manager: &ConnectionManager) -> u64 {
    manager.summary().pool_metrics[0].requests
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_kept_does_not_hold_its_place() {
    let (manager, tools) = tools(PoolSettings::new()).await;
    let options = PeerRequestOptions::no_options();
    let kept = tools.send_cancellable_request(sleeping(100), options).await;
    let kept = kept.unwrap();
    let next = tools.call("sleep", json!({ "ms": 1 })).await;
    assert!(next.is_ok(), "{next:?}");
    let reply = kept.await_response().await.unwrap();
    assert!(
        matches!(reply, ServerResult::CallToolResult(_)),
        "{reply:?}"
    );
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_awaited_ends_at_its_limit() {
    let (manager, tools) = tools(PoolSettings::new()).await;
    let kept = tools.send_cancellable_request(sleeping(600_000), within(SECOND));
    let kept = kept.await.unwrap();
    sleep(30 * SECOND).await;
    assert_eq!(manager.pool_status("test").unwrap().in_flight, 0);
    let error = kept.await_response().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_limit_covers_the_wait_for_a_session_and_for_the_reply() {
    let (manager, tools) = tools(PoolSettings::new()).await;
    let held = tools.session().await.unwrap();
    let began = Instant::now();
    let refused = tools.send_cancellable_request(sleeping(1), within(SECOND));
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Timeout, "{refused}");
    assert_eq!(began.elapsed().as_millis() / 10, 100);

    let began = Instant::now();
    let waiting = tools.send_cancellable_request(sleeping(600_000), within(2 * SECOND));
    let freed = async {
        sleep(SECOND).await;
        drop(held);
    };
    let (sent, ()) = tokio::join!(waiting, freed);
    let error = sent.unwrap().await_response().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(began.elapsed().as_millis() / 10, 200);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancellable_request_is_counted_and_the_breaker_hears_of_its_end() {
    let breaker = CircuitBreakerSettings::new().failure_threshold(1);
    let (manager, tools) = tools(PoolSettings::new().circuit_breaker(breaker)).await;
    let options = PeerRequestOptions::no_options;
    let answered = tools.send_cancellable_request(sleeping(1), options()).await;
    answered.unwrap().await_response().await.unwrap();
    assert_eq!(calls(&manager), 1);
    let cancelled = tools
        .send_cancellable_request(sleeping(1_000), options())
        .await;
    let reason = Some("no longer wanted".to_owned());
    cancelled.unwrap().cancel(reason).await.unwrap();
    assert_eq!(calls(&manager), 2);

    let late = tools
        .send_cancellable_request(sleeping(600_000), options())
        .await;
    assert!(late.unwrap().await_response().await.is_err());
    assert_eq!(calls(&manager), 3);
    assert_eq!(
        manager.pool_status("test").unwrap().circuit_breaker_state,
        State::Open
    );
    manager.shutdown().await;
}
