//! Server requests reach the handler of the call that caused them, and no other: over pipes and sockets, in both eras.

use crate::common;
use crate::common::caller;
use std::{sync::Arc, time::Duration};

use caller::{Caller, EVERYTHING, ask, asking};
use common::{LONG, manager, process, text};
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, PoolSettings, PooledTools, ServerConfig, Sharing,
    config::Lifecycle,
};
use mcp_testkit::{HttpOptions, HttpServer, process::wait_until};
use parking_lot::Mutex;
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Pools of real servers: child processes and sockets, in each era.
struct Pools {
    http: HttpServer,
}

impl Pools {
    async fn begin() -> Self {
        Self {
            http: HttpServer::start(HttpOptions::default()).await,
        }
    }

    async fn all(&self, settings: PoolSettings) -> Vec<(String, ConnectionManager)> {
        let mut pools = Vec::new();
        for era in [Lifecycle::Initialize, Lifecycle::Discover] {
            for (over, server) in [
                ("a process", process(&[])),
                ("http", ServerConfig::http(self.http.url())),
            ] {
                let manager = manager(server, settings.clone().lifecycle(era)).await;
                pools.push((format!("{over}, {era}"), manager));
            }
        }
        pools
    }
}

fn answered_by(name: &'static str, thinks: u64) -> CallOptions {
    CallOptions::new().handler(Caller {
        name,
        thinks: Duration::from_millis(thinks),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_callers_answers_its_own_call() {
    let pools = Pools::begin().await;
    for (over, manager) in pools.all(PoolSettings::new().max_connections(4)).await {
        let tools = manager.tools("test").unwrap();
        let mut callers = JoinSet::new();
        for caller in ["alice", "bob", "carol"] {
            for round in 0..6u64 {
                let (tools, over) = (tools.clone(), over.clone());
                callers.spawn(async move {
                    let options = answered_by(caller, round * 7 % 20);
                    let asking = timeout(LONG, ask(&tools, &EVERYTHING, options)).await;
                    let answers =
                        asking.unwrap_or_else(|_| panic!("{over}: no caller is answered"));
                    assert_eq!(
                        answers.unwrap(),
                        json!({ "elicitation": caller, "roots": caller, "sampling": caller }),
                        "{over}"
                    );
                });
            }
        }
        while let Some(outcome) = callers.join_next().await {
            outcome.unwrap();
        }
        assert_eq!(manager.pool_status("test").unwrap().in_flight, 0, "{over}");
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_a_handler_declines_also_beside_one_that_has() {
    let pools = Pools::begin().await;
    let declined = json!({ "elicitation": "declined", "roots": "none" });
    for (over, manager) in pools.all(PoolSettings::new()).await {
        let tools = manager.tools("test").unwrap();
        let with = ask(&tools, &EVERYTHING, answered_by("alice", 20));
        let without = async {
            sleep(Duration::from_millis(5)).await;
            ask(&tools, &["elicitation", "roots"], CallOptions::new()).await
        };
        let (with, without) = tokio::join!(with, without);
        assert_eq!(with.unwrap()["elicitation"], "alice", "{over}");
        assert_eq!(without.unwrap(), declined, "{over}");
        // Nor does a handler stay behind when its call is over.
        let after = ask(&tools, &["elicitation", "roots"], CallOptions::new()).await;
        assert_eq!(after.unwrap(), declined, "{over}");
        let options = answered_by("alice", 0);
        ask(&tools, &["elicitation"], options).await.unwrap();
        let after = ask(&tools, &["elicitation", "roots"], CallOptions::new()).await;
        assert_eq!(after.unwrap(), declined, "{over}");
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_ones_own_is_answered_by_the_handler_of_the_call() {
    let pools = Pools::begin().await;
    for (over, manager) in pools.all(PoolSettings::new()).await {
        let session = manager.tools("test").unwrap().session().await.unwrap();
        for name in ["alice", "bob"] {
            let options = answered_by(name, 0);
            let answers = session
                .call_tool_with(asking(&["elicitation"]), options)
                .await;
            let answers = text(&answers.unwrap());
            assert!(answers.contains(name), "{over}: {answers}");
        }
        drop(session);
        manager.shutdown().await;
    }
}

/// A call of three steps, and the messages of its progress.
async fn steps(tools: &PooledTools, steps: u32, ms: u64) -> Vec<String> {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let arguments = json!({ "steps": steps, "ms": ms });
    let params = CallToolRequestParams::new("progress")
        .with_arguments(arguments.as_object().cloned().unwrap());
    let options = CallOptions::new().on_progress({
        let reported = Arc::clone(&reported);
        move |progress| reported.lock().extend(progress.message)
    });
    let result = tools.call_tool_with(params, options).await.unwrap();
    assert_eq!(text(&result), format!("{steps} steps"));
    // Over HTTP the last word may still be on its way when the answer has come.
    wait_until(Duration::from_millis(500), || {
        reported.lock().len() >= steps as usize
    })
    .await;
    std::mem::take(&mut *reported.lock())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_caller_on_a_shared_session_is_told_of_its_own_progress() {
    let pools = Pools::begin().await;
    let settings = PoolSettings::new()
        .sharing(Sharing::Multiplexed)
        .max_connections(1);
    for (over, manager) in pools.all(settings).await {
        let tools = manager.tools("test").unwrap();
        let (three, five) = tokio::join!(steps(&tools, 3, 9), steps(&tools, 5, 5));
        for (reported, of) in [(three, 3), (five, 5)] {
            let expected: Vec<_> = (1..=of).map(|at| format!("step {at} of {of}")).collect();
            assert_eq!(reported, expected, "{over}");
        }
        manager.shutdown().await;
    }
}
