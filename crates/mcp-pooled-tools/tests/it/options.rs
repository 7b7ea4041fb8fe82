//! Options of one call take effect, and do not affect other calls.

use crate::common;
use crate::common::wired;
use std::{sync::Arc, time::Duration};

use common::{manager, process, text, whoami};
use mcp_pooled_tools::{
    CallOptions, Error, ErrorKind, Identity, Phase, PoolSettings, PooledTools, Sharing,
    config::Lifecycle,
};
use mcp_testkit::TestServer;
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities,
        ServerConfig,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use wired::Wired;

const ERAS: [Lifecycle; 2] = [Lifecycle::Initialize, Lifecycle::Discover];

fn once(name: &'static str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name)
        .with_arguments(arguments.as_object().cloned().expect("an object"))
}

/// Everything on one session.
fn shared() -> PoolSettings {
    PoolSettings::new()
        .max_connections(1)
        .max_in_flight(64)
        .scale_up_at(64)
}

#[tokio::test(start_paused = true)]
async fn progress_reaches_the_sink_of_its_own_call_alone() {
    for era in ERAS {
        let manager = Wired::new(TestServer::new())
            .manager(shared().lifecycle(era))
            .await;
        let tools = manager.tools("test").unwrap();
        let mut calls = JoinSet::new();
        for steps in 1..=10u32 {
            let tools = tools.clone();
            calls.spawn(async move {
                let seen = Arc::new(Mutex::new(Vec::new()));
                let heard = Arc::clone(&seen);
                let options = CallOptions::new().on_progress(move |progress| {
                    heard.lock().push((
                        progress.progress_token.clone(),
                        progress.progress,
                        progress.total,
                    ));
                });
                let params = once("progress", json!({ "steps": steps, "ms": 10 }));
                let result = tools.call_tool_with(params, options).await.unwrap();
                assert_eq!(text(&result), format!("{steps} steps"));
                let seen = seen.lock().clone();
                let expected: Vec<_> = (1..=steps).map(f64::from).collect();
                let reported: Vec<_> = seen.iter().map(|(_, progress, _)| *progress).collect();
                assert_eq!(
                    reported, expected,
                    "{era}: every step, in order, and no other's"
                );
                assert!(seen.iter().all(|(token, _, total)| {
                    *token == seen[0].0 && *total == Some(f64::from(steps))
                }));
            });
            // And calls beside them that want to hear nothing.
            calls.spawn({
                let manager = manager.clone();
                async move {
                    let tools = manager.tools("test").unwrap();
                    tools
                        .call("progress", json!({ "steps": 5, "ms": 7 }))
                        .await
                        .unwrap();
                }
            });
        }
        calls.join_all().await;
        assert_eq!(manager.pool_status("test").unwrap().sessions.len(), 1);
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn progress_keeps_a_slow_call_alive_and_max_total_ends_it() {
    let manager = Wired::new(TestServer::new()).manager(shared()).await;
    let tools = manager.tools("test").unwrap();
    let limit = Duration::from_millis(300);
    // Twenty steps, two seconds.
    let call = |options: CallOptions| {
        let tools = tools.clone();
        async move {
            let began = Instant::now();
            let params = once("progress", json!({ "steps": 20, "ms": 100 }));
            let outcome = tools.call_tool_with(params, options.timeout(limit)).await;
            (outcome.map(|result| text(&result)), began.elapsed())
        }
    };
    let near = |took: Duration, expected: u64| {
        let expected = Duration::from_millis(expected);
        took >= expected && took < expected + Duration::from_millis(50)
    };

    let (outcome, took) = call(CallOptions::new()).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(near(took, 300), "{took:?}");

    let (outcome, took) = call(CallOptions::new().reset_on_progress()).await;
    assert_eq!(outcome.unwrap(), "20 steps");
    assert!(took >= Duration::from_secs(2), "{took:?}");

    let heard = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&heard);
    let options = CallOptions::new()
        .reset_on_progress()
        .max_total(Duration::from_secs(1))
        .on_progress(move |_| *counting.lock() += 1);
    let (outcome, took) = call(options).await;
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    assert!(near(took, 1_000), "{took:?}");
    assert!((9..=10).contains(&*heard.lock()), "the sink hears it too");

    // Silence is not progress.
    let began = Instant::now();
    let options = CallOptions::new().reset_on_progress().timeout(limit);
    let silent = once("sleep", json!({ "ms": 60_000 }));
    let error = tools.call_tool_with(silent, options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(near(began.elapsed(), 300), "{:?}", began.elapsed());
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn cancelling_one_of_64_calls_leaves_63_and_tells_the_server_once() {
    for era in ERAS {
        let wired = Wired::new(TestServer::new());
        let manager = wired.manager(shared().lifecycle(era)).await;
        let tools = manager.tools("test").unwrap();
        let token = CancellationToken::new();
        let calls: JoinSet<_> = (0..64u64)
            .map(|call| {
                let tools = tools.clone();
                let options = match call {
                    17 => CallOptions::new().cancellation(token.clone()),
                    _ => CallOptions::new(),
                };
                let params = once("sleep", json!({ "ms": 1_000 + call }));
                async move { (call, tools.call_tool_with(params, options).await) }
            })
            .collect();
        sleep(Duration::from_millis(500)).await;
        assert_eq!(wired.server.calls_of("sleep"), 64);
        token.cancel();
        for (call, outcome) in calls.join_all().await {
            if call == 17 {
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
                assert_eq!(error.phase(), Some(Phase::Call));
                assert!(error.to_string().contains("may have run"), "{error}");
            } else {
                assert_eq!(
                    text(&outcome.unwrap()),
                    format!("slept {} ms", 1_000 + call)
                );
            }
        }
        sleep(Duration::from_secs(1)).await;
        let stats = wired.server.stats();
        assert_eq!(stats.cancelled, 1, "{era}");
        assert_eq!(stats.interruptions.len(), 1, "{era}");
        assert_eq!(wired.opens(), 1);
        assert_eq!(manager.pool_status("test").unwrap().in_flight, 0);
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_cancelled_before_it_was_sent_is_not_sent() {
    let wired = Wired::new(TestServer::new());
    let manager = wired
        .manager(PoolSettings::new().max_connections(1).max_in_flight(1))
        .await;
    let tools = manager.tools("test").unwrap();
    let token = CancellationToken::new();
    let options = CallOptions::new().cancellation(token.clone());
    let waiting = tools.call_tool_with(once("echo", json!({ "message": "m" })), options.clone());
    let (first, waiting, ()) = tokio::join!(
        tools.call("sleep", json!({ "ms": 1_000 })),
        async {
            sleep(Duration::from_millis(10)).await;
            waiting.await
        },
        async {
            sleep(Duration::from_millis(100)).await;
            token.cancel();
        }
    );
    first.unwrap();
    let error = waiting.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert_ne!(error.phase(), Some(Phase::Call));
    // A token that has been cancelled already lets nothing out.
    let again = tools.call_tool_with(once("echo", json!({ "message": "m" })), options);
    assert_eq!(again.await.unwrap_err().kind(), ErrorKind::Cancelled);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(wired.server.calls_of("echo"), 0);
    manager.shutdown().await;
}

#[tokio::test]
async fn meta_arrives_beside_what_the_request_brings_itself() {
    for era in ERAS {
        let manager = Wired::over(|| Mirror)
            .manager(PoolSettings::new().lifecycle(era))
            .await;
        let tools = manager.tools("test").unwrap();
        let meta = |value| serde_json::from_value(value).unwrap();
        let mut params = once("mirror", json!({}));
        params.meta = Some(meta(json!({ "of/params": 1, "of/both": "params" })));
        let options = CallOptions::new()
            .meta(meta(
                json!({ "of/options": { "deep": true }, "of/both": "options" }),
            ))
            .on_progress(|_| ());
        let seen = tools.call_tool_with(params, options).await.unwrap();
        let seen: Value = serde_json::from_str(&text(&seen)).unwrap();
        assert_eq!(seen["of/params"], 1);
        assert_eq!(seen["of/options"]["deep"], true);
        assert_eq!(seen["of/both"], "options");
        assert!(!seen["progressToken"].is_null(), "{seen}");
        let seen = tools.call("mirror", json!({})).await.unwrap();
        assert!(!text(&seen).contains("of/options"), "not the next call's");
        manager.shutdown().await;
    }
}

async fn pid(tools: &PooledTools, options: CallOptions) -> Result<u64, Error> {
    let seen = tools
        .call_tool_with(once("whoami", json!({})), options)
        .await?;
    Ok(whoami(&seen)["pid"].as_u64().expect("a pid"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_may_be_made_in_a_scope_and_on_behalf_of_somebody() {
    let server = process(&[]).env("TOKEN", "of nobody");
    let manager = manager(server, PoolSettings::new().sharing(Sharing::Pinned)).await;
    let tools = manager.tools("test").unwrap();
    let own = pid(&tools, CallOptions::new()).await.unwrap();

    let workspace = tools.scoped("workspace");
    let scoped = pid(&workspace, CallOptions::new()).await.unwrap();
    assert_ne!(scoped, own);
    let by_option = CallOptions::new().scope("workspace");
    assert_eq!(pid(&tools, by_option.clone()).await.unwrap(), scoped);
    let other = pid(&tools, CallOptions::new().scope("other"))
        .await
        .unwrap();
    assert!(other != scoped && other != own);

    let alice = Identity::new("alice").env("TOKEN", "of alice");
    let of_alice = CallOptions::new().identity(alice.clone());
    let params = once("whoami", json!({ "env": ["TOKEN"] }));
    let seen = tools
        .call_tool_with(params, of_alice.clone())
        .await
        .unwrap();
    let seen = whoami(&seen);
    assert_eq!(seen["env"]["TOKEN"], "of alice");
    assert!(seen["pid"] != own && seen["pid"] != scoped);
    // The scope of alice is not that of nobody.
    let hers = tools.with_identity(alice).scoped("workspace");
    let in_hers = pid(&hers, CallOptions::new()).await.unwrap();
    assert_ne!(in_hers, scoped);
    let both = of_alice.scope("workspace");
    assert_eq!(pid(&tools, both).await.unwrap(), in_hers);
    assert_eq!(pid(&tools, CallOptions::new()).await.unwrap(), own);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_session_that_timed_out_is_probed_before_its_next_use_and_kept_if_it_answers() {
    let wired = Wired::new(TestServer::new());
    let manager = wired
        .manager(shared().lifecycle(Lifecycle::Initialize))
        .await;
    let tools = manager.tools("test").unwrap();
    let session = async || {
        let seen = tools.call("whoami", json!({})).await.unwrap();
        whoami(&seen)["session"].as_u64().expect("a number")
    };
    let late = async || {
        let options = CallOptions::new().timeout(Duration::from_millis(50));
        let slow = once("sleep", json!({ "ms": 60_000 }));
        let error = tools.call_tool_with(slow, options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    };
    let first = session().await;
    assert_eq!(wired.server.pings(), 0, "a fresh session needs no probe");
    late().await;
    assert_eq!(session().await, first, "it answered the probe");
    assert_eq!(wired.server.pings(), 1);
    assert_eq!(session().await, first);
    assert_eq!(wired.server.pings(), 1, "and is trusted again");
    for _ in 0..5 {
        late().await;
    }
    assert_eq!(session().await, first, "it answers every time");
    assert_eq!(wired.server.open_connections(), 1);
    manager.shutdown().await;
}

/// Answers with the `_meta` it was given.
#[derive(Clone)]
struct Mirror;

impl ServerHandler for Mirror {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let meta = serde_json::to_string(&context.meta).expect("meta is JSON");
        Ok(CallToolResult::success(vec![ContentBlock::text(meta)]).into())
    }
}
