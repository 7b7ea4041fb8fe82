//! Servers that others wrote: one on the TypeScript SDK, one on the Python SDK.
//!
//! They are not part of this repository. `.ci/run` installs them and names them in two variables; where a variable is
//! not set its tests pass without having looked, and say so. With `POOL_TEST_REAL_SERVERS=required` they fail
//! instead, so that the gate cannot pass by forgetting to install them.

use crate::common;
use crate::common::caller;
use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use caller::Caller;
use common::{LONG, text};
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, PoolSettings, PooledTools, ServerConfig, Sharing,
    config::Transport,
    core::{Era, SessionPool, connect::stdio::Stdio},
};
use mcp_testkit::process as processes;
use rmcp::model::{CallToolRequestParams, ClientConfig, Implementation};
use serde_json::json;

/// The command that `variable` holds, split at spaces.
fn server(variable: &str) -> Option<ServerConfig> {
    match std::env::var(variable) {
        Ok(command) => {
            let mut words = command.split_whitespace();
            Some(ServerConfig::stdio(words.next().expect("a command")).args(words))
        }
        Err(_)
            if std::env::var("POOL_TEST_REAL_SERVERS").is_ok_and(|value| value == "required") =>
        {
            panic!("{variable} is not set")
        }
        Err(_) => {
            eprintln!("skipped: {variable} is not set");
            None
        }
    }
}

async fn started(server: ServerConfig, settings: PoolSettings) -> (ConnectionManager, PooledTools) {
    let manager = ConnectionManager::builder()
        .server("real", server)
        .defaults(settings)
        .build()
        .await
        .unwrap();
    let tools = manager.tools("real").unwrap();
    (manager, tools)
}

/// All processes below this one that belong to the manager's sessions.
fn processes_of(manager: &ConnectionManager) -> Vec<u32> {
    let sessions = manager.pool_status("real").unwrap().pool.sessions;
    let direct: Vec<u32> = sessions.iter().filter_map(|session| session.pid).collect();
    let below: Vec<u32> = direct
        .iter()
        .flat_map(|pid| processes::descendants(*pid))
        .collect();
    direct.into_iter().chain(below).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_everything_is_opened_once_and_serves_64_callers() {
    let Some(server) = server("POOL_TEST_EVERYTHING") else {
        return;
    };
    let (manager, tools) = started(server, PoolSettings::new().max_connections(2)).await;
    let callers: Vec<_> = (0..64)
        .map(|n: u32| {
            let tools = tools.clone();
            async move {
                text(
                    &tools
                        .call("echo", json!({ "message": n.to_string() }))
                        .await
                        .unwrap(),
                )
            }
        })
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in callers {
        tasks.spawn(caller);
    }
    let answers: HashSet<String> = tasks.join_all().await.into_iter().collect();
    assert_eq!(answers.len(), 64, "each caller got its own answer");
    let status = manager.pool_status("real").unwrap();
    assert!(status.opened <= 2, "{status:?}");
    assert!(!tools.list_all_tools().await.unwrap().is_empty());
    assert!(!tools.list_all_prompts().await.unwrap().is_empty());
    assert!(!tools.list_all_resources().await.unwrap().is_empty());

    let pids = processes_of(&manager);
    assert!(!pids.is_empty());
    manager.shutdown().await;
    assert!(processes::wait_gone(pids, LONG).await);
}

/// It has the last four for clients that answer its questions alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_everything_lists_17_tools_to_a_client_that_answers_and_13_to_others() {
    const ALWAYS: [&str; 13] = [
        "echo",
        "get-annotated-message",
        "get-env",
        "get-resource-links",
        "get-resource-reference",
        "get-structured-content",
        "get-sum",
        "get-tiny-image",
        "gzip-file-as-resource",
        "simulate-research-query",
        "toggle-simulated-logging",
        "toggle-subscriber-updates",
        "trigger-long-running-operation",
    ];
    const FOR_THOSE_WHO_ANSWER: [&str; 4] = [
        "get-roots-list",
        "trigger-elicitation-request",
        "trigger-sampling-request",
        "trigger-url-elicitation",
    ];
    let Some(server) = server("POOL_TEST_EVERYTHING") else {
        return;
    };
    let (manager, tools) = started(server, PoolSettings::new().min_connections(0)).await;
    let capabilities = json!({
        "sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": true},
    });
    let answering = tools.with_client_info(ClientConfig::new(
        serde_json::from_value(capabilities).unwrap(),
        Implementation::new("answers", "1"),
    ));
    let all: BTreeSet<&str> = ALWAYS.into_iter().chain(FOR_THOSE_WHO_ANSWER).collect();
    for (tools, expected) in [(&tools, BTreeSet::from(ALWAYS)), (&answering, all)] {
        let mut listed = BTreeSet::new();
        // It adds the last ones after the handshake, and says that its list has changed.
        let complete = async {
            loop {
                let tools = tools.list_all_tools().await.unwrap();
                listed = tools.iter().map(|tool| tool.name.to_string()).collect();
                if listed.iter().eq(&expected) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let complete = tokio::time::timeout(LONG, complete).await;
        assert!(complete.is_ok(), "{listed:?}, not {expected:?}");
    }
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_everything_is_started_once_for_one_caller_and_again_for_a_second_at_the_same_time()
{
    let Some(server) = server("POOL_TEST_EVERYTHING") else {
        return;
    };
    let (manager, tools) = started(server, PoolSettings::new().min_connections(2)).await;
    for _ in 0..5 {
        common::echo(&tools, "hello").await;
    }
    assert_eq!(manager.pool_status("real").unwrap().opened, 1);
    let slow = || {
        tools.call(
            "trigger-long-running-operation",
            json!({ "duration": 1, "steps": 1 }),
        )
    };
    let (first, second) = tokio::join!(slow(), slow());
    first.and(second).unwrap();
    let idle = || manager.pool_status("real").unwrap().connections.idle;
    assert!(processes::wait_until(LONG, || idle() == 2).await);
    manager.shutdown().await;
}

/// Its tools for that are there only for clients that say that they answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_everything_is_answered_by_whoever_called_it() {
    let Some(server) = server("POOL_TEST_EVERYTHING") else {
        return;
    };
    let settings = PoolSettings::new().min_connections(0).max_connections(2);
    let (manager, tools) = started(server, settings).await;
    let mut callers = tokio::task::JoinSet::new();
    for name in ["alice", "bob", "carol"] {
        let tools = tools.clone();
        callers.spawn(async move {
            let ask = async |tool: &'static str, arguments: serde_json::Value| {
                let params = CallToolRequestParams::new(tool)
                    .with_arguments(arguments.as_object().cloned().unwrap());
                let options = CallOptions::new().handler(Caller {
                    name,
                    thinks: Duration::from_millis(20),
                });
                text(&tools.call_tool_with(params, options).await.unwrap())
            };
            for _ in 0..3 {
                let sampled = ask("trigger-sampling-request", json!({ "prompt": "hello" })).await;
                assert!(sampled.contains(name), "{name}: {sampled}");
                let elicited = ask("trigger-elicitation-request", json!({})).await;
                assert!(elicited.contains(name), "{name}: {elicited}");
            }
        });
    }
    while let Some(outcome) = callers.join_next().await {
        outcome.unwrap();
    }
    manager.shutdown().await;
}

/// What was only read before the first call does not keep a scope's session from saying that its caller answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_everything_asks_in_a_pinned_scope_that_has_listed_before() {
    const ELICIT: &str = "trigger-elicitation-request";
    let Some(server) = server("POOL_TEST_EVERYTHING") else {
        return;
    };
    let settings = PoolSettings::new().sharing(Sharing::Pinned);
    let (manager, tools) = started(server, settings).await;
    let listed = async || {
        let tools = tools.list_all_tools().await.unwrap();
        tools.iter().any(|tool| tool.name == ELICIT)
    };
    assert!(!listed().await);
    let options = CallOptions::new().handler(Caller {
        name: "alice",
        thinks: Duration::ZERO,
    });
    let asked = tools.call_tool_with(CallToolRequestParams::new(ELICIT), options);
    let elicited = text(&asked.await.unwrap());
    assert!(elicited.contains("alice"), "{elicited}");
    assert!(listed().await, "it is the session's list now");
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_everything_below_a_wrapper_leaves_nothing_behind() {
    let Some(server) = server("POOL_TEST_EVERYTHING_WRAPPED") else {
        return;
    };
    let (manager, tools) = started(server, PoolSettings::new().min_connections(0)).await;
    assert!(common::echo(&tools, "hello").await.contains("hello"));
    let pids = processes_of(&manager);
    assert!(pids.len() > 1, "a wrapper has a child: {pids:?}");
    manager.shutdown().await;
    assert!(processes::wait_gone(pids, LONG).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_everything_survives_being_killed() {
    let Some(server) = server("POOL_TEST_EVERYTHING") else {
        return;
    };
    let (manager, tools) = started(
        server,
        PoolSettings::new().min_connections(0).max_connections(1),
    )
    .await;
    common::echo(&tools, "before").await;
    let [pid] = processes_of(&manager)[..] else {
        panic!("one process")
    };
    processes::signal(pid, processes::Signal::KILL).unwrap();
    assert!(
        processes::wait_until(LONG, || manager
            .pool_status("real")
            .unwrap()
            .connections
            .idle
            == 0)
        .await
    );
    assert!(common::echo(&tools, "after").await.contains("after"));
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mcp_server_time_is_met_again_by_every_call() {
    let Some(server) = server("POOL_TEST_TIME") else {
        return;
    };
    let (manager, tools) = started(server, PoolSettings::new().min_connections(1)).await;
    for _ in 0..20 {
        let now = tools
            .call("get_current_time", json!({ "timezone": "UTC" }))
            .await
            .unwrap();
        assert!(text(&now).contains("UTC"), "{now:?}");
    }
    assert_eq!(manager.pool_status("real").unwrap().opened, 1);
    let refused = tools
        .call(
            "get_current_time",
            json!({ "timezone": "Nowhere/Atlantis" }),
        )
        .await;
    assert!(refused.is_err() || refused.unwrap().is_error == Some(true));
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_answer_a_probe_in_the_way_of_their_era() {
    for (variable, era) in [
        ("POOL_TEST_EVERYTHING", Era::Legacy),
        ("POOL_TEST_TIME", Era::Modern),
    ] {
        let Some(server) = server(variable) else {
            return;
        };
        let Transport::Stdio(command) = server.transport() else {
            unreachable!("both are commands")
        };
        let pool = SessionPool::builder("real", Stdio::new(&command.command).args(&command.args))
            .build()
            .unwrap();
        assert_eq!(pool.acquire().await.unwrap().era(), era, "{variable}");
        assert!(pool.probe().await.unwrap().alive, "{variable}");
        pool.close().await;
    }
}
