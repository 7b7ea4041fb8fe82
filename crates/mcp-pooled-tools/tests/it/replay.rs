//! No call runs twice by accident: a counting tool proves it.

use crate::common;
use crate::common::wired;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{LONG, manager, process, text, whoami};
use mcp_pooled_tools::{
    CallOptions, ErrorKind, PoolSettings, Sharing,
    config::{CircuitBreakerSettings, Replay},
};
use mcp_testkit::{Era, Faults, HttpOptions, HttpServer, TestServer, process as processes};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, ListToolsResult, PaginatedRequestParams,
        ServerCapabilities, ServerConfig as Introduction, Tool, ToolAnnotations,
    },
    service::RequestContext,
};
use serde_json::json;
use tokio::sync::Notify;
use wired::{Trouble, Wired, status};

fn once(name: &'static str, arguments: serde_json::Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name)
        .with_arguments(arguments.as_object().cloned().expect("an object"))
}

/// Settings under which the breaker stays out of it.
fn settings() -> PoolSettings {
    PoolSettings::new().circuit_breaker(CircuitBreakerSettings::new().failure_threshold(1_000_000))
}

fn dies_in(tool: &str) -> Wired {
    Wired::new(TestServer::with_faults(Faults {
        exit_mid_call: Some(tool.into()),
        ..Faults::default()
    }))
}

/// How often a tool that dies when it is called has run after one call of ours.
async fn runs_of(tool: &'static str, settings: PoolSettings, options: CallOptions) -> u64 {
    let wired = dies_in(tool);
    let manager = wired.manager(settings).await;
    let arguments = json!({ "message": "m", "ms": 1, "key": "k" });
    let error = manager
        .tools("test")
        .unwrap()
        .call_tool_with(once(tool, arguments), options)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert!(
        error.to_string().contains(&format!("`{tool}`"))
            && error.to_string().contains("may have run"),
        "{error}"
    );
    assert!(!error.is_retryable());
    let runs = wired.server.calls_of(tool);
    assert_eq!(status(&manager)["retries"], json!(runs - 1));
    manager.shutdown().await;
    runs
}

#[tokio::test]
async fn a_tool_that_only_reads_is_called_once_more_when_its_answer_is_lost() {
    assert_eq!(runs_of("echo", settings(), CallOptions::new()).await, 2);
    assert_eq!(runs_of("sleep", settings(), CallOptions::new()).await, 2);
}

#[tokio::test]
async fn a_tool_that_may_be_repeated_is_called_once_more_when_its_answer_is_lost() {
    assert_eq!(
        runs_of("set_tools", settings(), CallOptions::new()).await,
        2
    );
}

#[tokio::test]
async fn any_other_tool_is_not_called_again_when_its_answer_is_lost() {
    assert_eq!(runs_of("count", settings(), CallOptions::new()).await, 1);
    let unlisted = runs_of("exit", settings(), CallOptions::new()).await;
    assert_eq!(unlisted, 1);
}

#[tokio::test]
async fn the_caller_may_decide_otherwise_for_a_call() {
    let with = |replay| CallOptions::new().replay(replay);
    assert_eq!(runs_of("count", settings(), with(Replay::Always)).await, 2);
    assert_eq!(runs_of("echo", settings(), with(Replay::Never)).await, 1);
    let never = settings().replay(Replay::Never);
    assert_eq!(runs_of("echo", never.clone(), CallOptions::new()).await, 1);
    assert_eq!(runs_of("echo", never, with(Replay::Safe)).await, 2);
    let always = settings().replay(Replay::Always);
    assert_eq!(runs_of("count", always, CallOptions::new()).await, 2);
    for tool in ["set_tools", "count"] {
        assert_eq!(runs_of(tool, settings(), with(Replay::Never)).await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_run_is_said_so_also_if_its_time_ends_before_it_is_sent_again() {
    let wired = dies_in("count");
    let manager = wired.manager(settings()).await;
    let tools = manager.tools("test").unwrap();
    tools.list_all_tools().await.unwrap();
    wired.open_with(Trouble::Hangs);
    let options = CallOptions::new()
        .replay(Replay::Always)
        .timeout(Duration::from_secs(2));
    let call = tools.call_tool_with(once("count", json!({})), options);
    let error = call.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert_eq!(wired.server.calls_of("count"), 1);
    manager.shutdown().await;
}

#[tokio::test]
async fn hints_that_are_not_trusted_make_every_tool_unsafe() {
    let settings = settings().trust_annotations(false);
    for tool in ["echo", "sleep", "set_tools"] {
        assert_eq!(
            runs_of(tool, settings.clone(), CallOptions::new()).await,
            1,
            "{tool}"
        );
    }
    let always = CallOptions::new().replay(Replay::Always);
    assert_eq!(runs_of("count", settings, always).await, 2);
}

#[tokio::test]
async fn what_the_server_answered_is_never_asked_again() {
    let wired = Wired::new(TestServer::new());
    let manager = wired.manager(settings().replay(Replay::Always)).await;
    let tools = manager.tools("test").unwrap();
    for code in [-32602, -32603, -32000] {
        let error = tools
            .call("fail", json!({ "code": code, "message": "no" }))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(error.protocol().unwrap().code.0, code);
    }
    let result = tools
        .call("tool_error", json!({ "message": "no" }))
        .await
        .unwrap();
    assert_eq!(result.is_error, Some(true));
    assert_eq!(wired.server.calls_of("fail"), 3);
    assert_eq!(wired.server.calls_of("tool_error"), 1);
    assert_eq!(status(&manager)["retries"], json!(0));
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_loses_its_process_is_answered_by_another() {
    let manager = manager(process(&[]), settings().max_connections(1)).await;
    let tools = manager.tools("test").unwrap();
    let pid = pid_of(&whoami(&tools.call("whoami", json!({})).await.unwrap()));
    let reading = tokio::spawn({
        let tools = tools.clone();
        async move { tools.call("sleep", json!({ "ms": 500 })).await }
    });
    assert!(
        processes::wait_until(LONG, || manager.pool_status("test").unwrap().in_flight == 1).await
    );
    kill(pid);
    let answer = tokio::time::timeout(LONG, reading).await.unwrap().unwrap();
    assert_eq!(text(&answer.unwrap()), "slept 500 ms");
    assert_eq!(status(&manager)["retries"], json!(1));
    manager.shutdown().await;
}

/// Whenever the process is killed, around a call that counts: it has run once if the caller has an answer, and never
/// more than once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_06_killed_at_any_moment_a_call_that_counts_runs_at_most_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counts");
    let server = process(&["--count-file", file.to_str().unwrap()]);
    let manager = manager(
        server,
        settings()
            .max_connections(1)
            .call_timeout(Duration::from_secs(10)),
    )
    .await;
    let tools = manager.tools("test").unwrap();
    let (mut answered, mut unknown) = (0, 0);
    for round in 0..24u64 {
        let pid = pid_of(&whoami(&tools.call("whoami", json!({})).await.unwrap()));
        // Half of all calls lost would open the breaker, whatever the number in a row.
        for _ in 0..3 {
            tools.call("echo", json!({ "message": "m" })).await.unwrap();
        }
        let before = lines(&file);
        let killer = async {
            // Before the send in some rounds, after it in others, and after the effect in the rest.
            tokio::time::sleep(Duration::from_micros(round / 3 * 150)).await;
            kill(pid);
        };
        let call = tools.call("count", json!({ "key": "k" }));
        let outcome = if round % 3 == 0 {
            kill(pid);
            call.await
        } else {
            tokio::join!(call, killer).0
        };
        // What is dead counts no more; what is alive has answered.
        assert!(processes::wait_gone([pid], LONG).await);
        let runs = lines(&file) - before;
        match outcome {
            Ok(_) => {
                answered += 1;
                assert_eq!(runs, 1, "round {round}: an answer means that it ran, once");
            }
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                unknown += 1;
                assert!(runs <= 1, "round {round}: {runs} runs");
                assert!(error.to_string().contains("tool `count`"), "{error}");
            }
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    assert_eq!(answered + unknown, 24);
    manager.shutdown().await;
}

/// The server has counted and dies before it says so.
#[tokio::test]
async fn killed_after_the_effect_a_tool_runs_again_only_if_it_may() {
    for (tool, runs) in [("write", 1), ("replace", 2)] {
        let server = Forgetful::default();
        let wired = Wired::over({
            let server = server.clone();
            move || server.clone()
        });
        let cutting = tokio::spawn({
            let (wired, ran) = (wired.clone(), Arc::clone(&server.has_run));
            async move {
                loop {
                    ran.notified().await;
                    wired.cut();
                }
            }
        });
        let manager = wired.manager(settings()).await;
        let tools = manager.tools("test").unwrap();
        let error = tools.call(tool, json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert_eq!(server.runs.load(Relaxed), runs, "{tool}");
        manager.shutdown().await;
        cutting.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_http_session_that_was_forgotten_is_told_once_and_no_call_runs_twice() {
    let mut server = HttpServer::start(HttpOptions {
        era: Era::Legacy,
        ..HttpOptions::default()
    })
    .await;
    let config = mcp_pooled_tools::ServerConfig::http(server.url());
    let manager = manager(config, settings().sharing(Sharing::Pinned)).await;
    let tools = manager.tools("test").unwrap();
    for replay in [Replay::Safe, Replay::Never] {
        let count = || {
            let options = CallOptions::new().replay(replay);
            tools.call_tool_with(once("count", json!({ "key": "k" })), options)
        };
        count().await.unwrap();
        let runs = server.server().calls_of("count");
        restart(&mut server).await;
        let mut reported = count().await.unwrap_err();
        if replay == Replay::Never && reported.kind() == ErrorKind::Connection {
            // The request met the session before its end was known, and is not made again.
            assert!(reported.to_string().contains("not sent"), "{reported}");
            reported = count().await.unwrap_err();
        }
        assert!(reported.is_state_lost(), "{reported}");
        assert_eq!(server.server().calls_of("count"), runs);
        count().await.unwrap();
        assert_eq!(server.server().calls_of("count"), runs + 1);
    }
    manager.shutdown().await;
}

/// Over modern HTTP a session is no connection and outlives one that is cut: it is left all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_loses_its_connection_is_answered_on_another_session() {
    for (sharing, same_session) in [(Sharing::Multiplexed, false), (Sharing::Pinned, true)] {
        let server = HttpServer::start(HttpOptions {
            era: Era::Modern,
            ..HttpOptions::default()
        })
        .await;
        let config = mcp_pooled_tools::ServerConfig::http(server.url());
        let manager = manager(config, settings().sharing(sharing)).await;
        let tools = manager.tools("test").unwrap();
        tools.call("echo", json!({ "message": "m" })).await.unwrap();
        let before = manager.pool_status("test").unwrap();
        let reading = tools.call("sleep", json!({ "ms": 1_000 }));
        let cutting = async {
            assert!(processes::wait_until(LONG, || server.server().calls_of("sleep") == 1).await);
            server.cut().await;
        };
        let (answer, ()) = tokio::join!(reading, cutting);
        assert_eq!(text(&answer.unwrap()), "slept 1000 ms");
        assert_eq!(status(&manager)["retries"], json!(1));

        let old = before.sessions[0].id;
        let is_there = || {
            let sessions = manager.pool_status("test").unwrap().pool.sessions;
            sessions.iter().any(|session| session.id == old)
        };
        let after = manager.pool_status("test").unwrap();
        assert_eq!(after.opened, before.opened + u64::from(!same_session));
        // The state of a scope is on its session and nowhere else.
        if same_session {
            assert!(is_there());
        } else {
            assert!(processes::wait_until(LONG, || !is_there()).await);
        }
        manager.shutdown().await;
    }
}

async fn restart(server: &mut HttpServer) {
    server.restart().await;
    // A request on a connection whose end is not known yet is lost, not turned away: that is another row.
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Counts, and never says so: its connection is cut by then.
#[derive(Clone, Default)]
struct Forgetful {
    runs: Arc<AtomicU64>,
    has_run: Arc<Notify>,
}

impl ServerHandler for Forgetful {
    fn get_info(&self) -> Introduction {
        Introduction::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |name: &'static str, hints| {
            Tool::new(name, "", serde_json::Map::new()).with_annotations(hints)
        };
        Ok(ListToolsResult::with_all_items(vec![
            tool("write", ToolAnnotations::new().read_only(false)),
            tool("replace", ToolAnnotations::new().idempotent(true)),
        ]))
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.runs.fetch_add(1, Relaxed);
        self.has_run.notify_one();
        std::future::pending().await
    }
}

fn lines(file: &Path) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

fn kill(pid: u32) {
    processes::signal(pid, processes::Signal::KILL).unwrap();
}

fn pid_of(whoami: &serde_json::Value) -> u32 {
    u32::try_from(whoami["pid"].as_u64().expect("a pid")).expect("a pid")
}
