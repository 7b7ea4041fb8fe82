//! The API for code without async.

use crate::common;
use std::cell::Cell;

use common::{process, text, whoami};
use mcp_pooled_tools::{ConnectionManager, ErrorKind, PoolSettings, blocking};
use serde_json::json;

fn manager() -> blocking::ConnectionManager {
    let builder = ConnectionManager::builder()
        .server("test", process(&[]))
        .defaults(PoolSettings::new().min_connections(0));
    blocking::ConnectionManager::build(builder).unwrap()
}

#[test]
fn code_without_async_calls_tools_over_one_live_session() {
    let manager = manager();
    let tools = manager.tools("test").unwrap();
    let first = whoami(&tools.call("whoami", json!({})).unwrap());
    let second = whoami(&tools.call("whoami", json!({})).unwrap());
    assert_eq!(first["pid"], second["pid"]);
    let listed = tools.list_all_tools().unwrap();
    assert!(listed.iter().any(|tool| tool.name == "echo"));
    let schema = tools.tool_schema("echo").unwrap();
    assert!(schema.contains_key("properties"));
    manager.shutdown().unwrap();
    assert_eq!(
        tools.call("echo", json!({})).unwrap_err().kind(),
        ErrorKind::ShuttingDown
    );
}

#[test]
fn threads_share_it() {
    let manager = manager();
    let tools = manager.tools("test").unwrap();
    let threads: Vec<_> = (0..8)
        .map(|n: i32| {
            let tools = tools.clone();
            std::thread::spawn(move || {
                let echoed = tools.call("echo", json!({ "message": n.to_string() }));
                text(&echoed.unwrap())
            })
        })
        .collect();
    let answers: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(answers, (0..8).map(|n| n.to_string()).collect::<Vec<_>>());
    manager.shutdown().unwrap();
}

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

#[tokio::test]
async fn in_async_code_it_says_so_and_does_not_panic() {
    // One that is caught is printed all the same, and ends a program that aborts on panics.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.set(true);
        usual(panic);
    }));
    let built = tokio::task::spawn_blocking(|| std::thread::spawn(manager).join().unwrap())
        .await
        .unwrap();
    let error = built.tools("test").unwrap().list_all_tools().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("async"), "{error}");
    assert!(!PANICKED.get());
    drop(built);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_task_on_a_worker_it_says_so_too() {
    let built = tokio::task::spawn_blocking(manager).await.unwrap();
    let task = tokio::spawn(async move {
        // Most of the task's budget may be spent by then.
        for _ in 0..100 {
            tokio::task::coop::consume_budget().await;
        }
        built.tools("test").unwrap().list_all_tools().unwrap_err()
    });
    assert_eq!(task.await.unwrap().kind(), ErrorKind::Config);
}

#[tokio::test]
async fn on_a_thread_where_waiting_is_allowed_it_waits() {
    let echoed = tokio::task::spawn_blocking(|| {
        let manager = manager();
        let tools = manager.tools("test").unwrap();
        let echoed = tools.call("echo", json!({ "message": "x" })).unwrap();
        manager.shutdown().unwrap();
        text(&echoed)
    });
    assert_eq!(echoed.await.unwrap(), "x");
}

#[test]
fn dropping_it_leaves_no_process() {
    let manager = manager();
    let tools = manager.tools("test").unwrap();
    let pid = whoami(&tools.call("whoami", json!({})).unwrap())["pid"]
        .as_u64()
        .expect("a pid");
    drop((manager, tools));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let gone = mcp_testkit::process::wait_gone([u32::try_from(pid).expect("a pid")], common::LONG);
    assert!(runtime.block_on(gone));
}

#[test]
fn a_request_is_sent_now_and_awaited_or_cancelled_later() {
    use mcp_pooled_tools::rmcp::{
        model::{CallToolRequestParams, ClientRequest, ListToolsRequest, ServerResult},
        service::PeerRequestOptions,
    };
    let manager = manager();
    let tools = manager.tools("test").unwrap();
    let list = || ClientRequest::ListToolsRequest(ListToolsRequest::default());
    let options = PeerRequestOptions::no_options;
    let sent = tools.send_cancellable_request(list(), options()).unwrap();
    let tools_of = sent.await_response().unwrap();
    assert!(matches!(tools_of, ServerResult::ListToolsResult(_)));
    let sent = tools.send_cancellable_request(list(), options()).unwrap();
    sent.cancel(None).unwrap();
    let params = CallToolRequestParams::new("echo")
        .with_arguments(json!({ "message": "m" }).as_object().cloned().unwrap());
    let result = tools.call_tool_with_mrtr_max_rounds(params, 1).unwrap();
    assert_eq!(text(&result), "m");
    tools.notify_roots_list_changed().unwrap();
    tools.cancel().unwrap();
    manager.shutdown().unwrap();
}
