//! A caller that answers its server, where sessions are pinned: its scope's session is the one it answers on.

use crate::common;
use crate::common::caller;
use std::time::Duration;

use caller::{Caller, EVERYTHING, ask};
use common::{in_process, manager, process, text, whoami};
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, PoolSettings, PooledTools, Sharing, config::Lifecycle,
};
use mcp_testkit::TestServer;
use rmcp::model::{CallToolRequestParams, GetPromptRequestParams};
use serde_json::json;

const ERAS: [Lifecycle; 2] = [Lifecycle::Initialize, Lifecycle::Discover];

async fn pinned(era: Lifecycle) -> ConnectionManager {
    let settings = PoolSettings::new().lifecycle(era).sharing(Sharing::Pinned);
    manager(process(&[]), settings).await
}

fn answered_by(name: &'static str) -> CallOptions {
    CallOptions::new().handler(Caller {
        name,
        thinks: Duration::ZERO,
    })
}

/// Raises the counter that the scope's process keeps.
async fn count(tools: &PooledTools, options: CallOptions) -> u32 {
    let counted = tools.call_tool_with(CallToolRequestParams::new("count"), options);
    text(&counted.await.unwrap()).parse().unwrap()
}

async fn pid(tools: &PooledTools) -> serde_json::Value {
    whoami(&tools.call("whoami", json!({})).await.unwrap())["pid"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_of_a_scope_is_there_for_calls_with_a_handler_and_without() {
    for era in ERAS {
        for handler_first in [true, false] {
            let manager = pinned(era).await;
            let tools = manager.tools("test").unwrap();
            for round in 0..4u32 {
                let with = (round % 2 == 0) == handler_first;
                let options = if with {
                    answered_by("alice")
                } else {
                    CallOptions::new()
                };
                assert_eq!(
                    count(&tools, options).await,
                    round + 1,
                    "{era}, {handler_first}"
                );
            }
            let session = tools.session().await.unwrap();
            let more = session.call("count", json!({})).await.unwrap();
            assert_eq!(text(&more), "5", "{era}, {handler_first}");
            drop(session);
            manager.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_scope_is_answered_by_its_own_caller_on_its_own_session() {
    for era in ERAS {
        let manager = pinned(era).await;
        let scopes = ["alice", "bob"].map(|name| (name, manager.tools("test").unwrap()));
        let [a, b] = scopes.each_ref().map(|(name, tools)| async move {
            for _ in 0..5 {
                let answers = ask(tools, &EVERYTHING, answered_by(name)).await.unwrap();
                let own = json!({ "elicitation": name, "roots": name, "sampling": name });
                assert_eq!(answers, own, "{era}");
            }
            pid(tools).await
        });
        let (a, b) = tokio::join!(a, b);
        assert_ne!(a, b, "{era}");
        // Nor is anybody left to answer when the call is over.
        let nobody = ask(&scopes[0].1, &["elicitation"], CallOptions::new()).await;
        assert_eq!(nobody.unwrap()["elicitation"], "declined", "{era}");
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_scope_is_the_same_for_calls_that_name_it_and_answer() {
    for era in ERAS {
        let manager = pinned(era).await;
        let tools = manager.tools("test").unwrap();
        let held = tools.scoped("work");
        assert_eq!(count(&held, answered_by("alice")).await, 1, "{era}");
        assert_eq!(
            count(&tools, CallOptions::new().scope("work")).await,
            2,
            "{era}"
        );
        assert_eq!(
            count(&tools, answered_by("bob").scope("work")).await,
            3,
            "{era}"
        );
        assert_eq!(
            count(&tools, answered_by("bob")).await,
            1,
            "{era}: a scope of its own"
        );
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_scope_reads_on_the_session_of_its_calls_before_them_and_after() {
    // Only a client that declares more than the reader did needs a session in place of that.
    let cases = [(true, false, 1), (false, true, 1), (true, true, 2)];
    for era in ERAS {
        for (reads_first, with_handler, sessions) in cases {
            let server = TestServer::new();
            let settings = PoolSettings::new().lifecycle(era).sharing(Sharing::Pinned);
            let manager = in_process(&server, settings.min_connections(0)).await;
            let tools = manager.tools("test").unwrap();
            let read = || tools.get_prompt(GetPromptRequestParams::new("review"));
            if reads_first {
                read().await.unwrap();
            }
            let options = match with_handler {
                true => answered_by("alice"),
                false => CallOptions::new(),
            };
            assert_eq!(count(&tools, options).await, 1);
            read().await.unwrap();
            assert_eq!(
                server.initializations() + server.discoveries(),
                sessions,
                "{era}, reads first: {reads_first}, with a handler: {with_handler}"
            );
            manager.shutdown().await;
        }
    }
}
