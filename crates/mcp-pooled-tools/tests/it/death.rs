//! Servers die, and their clients recover.

use crate::common;
use std::time::Duration;

use common::{LONG, manager, process, whoami};
use mcp_pooled_tools::{
    CallOptions, ErrorKind, PoolSettings, config::Replay, rmcp::model::CallToolRequestParams,
};
use mcp_testkit::process as processes;
use serde_json::json;

fn once(name: &'static str, arguments: serde_json::Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name)
        .with_arguments(arguments.as_object().cloned().expect("an object"))
}

fn never_again() -> CallOptions {
    CallOptions::new().replay(Replay::Never)
}

fn kill(pid: u32) {
    processes::signal(pid, processes::Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_02_the_call_after_a_server_died_meets_a_fresh_one() {
    let manager = manager(process(&[]), PoolSettings::new().max_connections(1)).await;
    let tools = manager.tools("test").unwrap();
    let pid = pid_of(&whoami(&tools.call("whoami", json!({})).await.unwrap()));

    let in_flight = tokio::spawn({
        let tools = tools.clone();
        async move {
            tools
                .call_tool_with(once("sleep", json!({ "ms": 60_000 })), never_again())
                .await
        }
    });
    assert!(
        processes::wait_until(LONG, || manager.pool_status("test").unwrap().in_flight == 1).await
    );
    kill(pid);
    let error = tokio::time::timeout(Duration::from_secs(1), in_flight)
        .await
        .expect("at once")
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert!(
        error.to_string().contains("sleep") && error.to_string().contains("may have run"),
        "{error}"
    );
    assert!(!error.is_retryable(), "it may have run");

    let fresh = pid_of(&whoami(&tools.call("whoami", json!({})).await.unwrap()));
    assert_ne!(fresh, pid);
    manager.shutdown().await;
    assert!(processes::wait_gone([fresh], LONG).await);
}

#[tokio::test]
async fn a_server_that_exits_in_a_call_is_quoted_in_the_error() {
    let manager = manager(process(&[]), PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let error = tools
        .call("exit", json!({ "code": 7, "message": "out of cheese" }))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    let message = error.to_string();
    assert!(
        message.contains("server `test`")
            && message.contains('7')
            && message.contains("out of cheese"),
        "{message}"
    );
    assert!(!message.contains('\n'));
    assert_eq!(common::echo(&tools, "on").await, "on");
    manager.shutdown().await;
}

#[tokio::test]
async fn a_message_above_the_limit_ends_its_call_with_a_clear_error() {
    let manager = manager(process(&[]), PoolSettings::new().max_message_size(1 << 20)).await;
    let tools = manager.tools("test").unwrap();
    let call = tools.call_tool_with(
        once("huge_line", json!({ "bytes": 4 << 20 })),
        never_again(),
    );
    let error = tokio::time::timeout(LONG, call)
        .await
        .expect("it ends")
        .unwrap_err();
    assert!(error.to_string().contains("max_message_size"), "{error}");
    assert_eq!(common::echo(&tools, "on").await, "on");
    manager.shutdown().await;
}

fn pid_of(whoami: &serde_json::Value) -> u32 {
    u32::try_from(whoami["pid"].as_u64().expect("a pid")).expect("a pid")
}
