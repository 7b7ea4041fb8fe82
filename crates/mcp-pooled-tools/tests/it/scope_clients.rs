//! A scope with a client of its own: its calls run side by side, and no other scope answers for it.

use crate::common;
use crate::common::caller;
use std::{sync::Arc, time::Duration};

use caller::{Caller, EVERYTHING, ask};
use common::{LONG, in_process, text};
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, PoolSettings, PooledTools, Sharing, config::Lifecycle,
};
use mcp_testkit::TestServer;
use rmcp::ClientHandler;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

const MODES: [(Sharing, Lifecycle); 4] = [
    (Sharing::Multiplexed, Lifecycle::Initialize),
    (Sharing::Multiplexed, Lifecycle::Discover),
    (Sharing::Pinned, Lifecycle::Initialize),
    (Sharing::Pinned, Lifecycle::Discover),
];

async fn manager((sharing, era): (Sharing, Lifecycle)) -> ConnectionManager {
    let settings = PoolSettings::new().sharing(sharing).lifecycle(era);
    in_process(&TestServer::new(), settings).await
}

fn with_client(tools: &PooledTools, name: &'static str) -> PooledTools {
    let caller = Caller {
        name,
        thinks: Duration::ZERO,
    };
    tools.scoped(name).with_client(caller.get_info(), caller)
}

fn all_of(name: &str) -> serde_json::Value {
    json!({ "elicitation": name, "roots": name, "sampling": name })
}

/// In virtual time: one after the other they take 6 s.
#[tokio::test(start_paused = true)]
async fn twelve_calls_of_half_a_second_by_a_scope_with_a_handler_end_together() {
    for mode in MODES {
        let manager = manager(mode).await;
        let tools = with_client(&manager.tools("test").unwrap(), "alice");
        // Opens the session.
        assert_eq!(
            ask(&tools, &EVERYTHING, CallOptions::new()).await.unwrap(),
            all_of("alice"),
            "{mode:?}"
        );
        let (began, mut calls) = (Instant::now(), JoinSet::new());
        for _ in 0..12 {
            let tools = tools.clone();
            calls.spawn(async move { tools.call("sleep", json!({ "ms": 500 })).await });
        }
        for outcome in calls.join_all().await {
            assert!(outcome.is_ok(), "{mode:?}: {outcome:?}");
        }
        let took = began.elapsed();
        assert!(took <= Duration::from_millis(700), "{mode:?}: {took:?}");
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn questions_of_two_scopes_never_cross() {
    for mode in MODES {
        let manager = manager(mode).await;
        let tools = manager.tools("test").unwrap();
        let scopes = ["alice", "bob"].map(|name| (name, Arc::new(with_client(&tools, name))));
        let mut asking = JoinSet::new();
        for number in 0..1_000 {
            let (name, tools) = scopes[number % 2].clone();
            asking.spawn(async move {
                let answers = ask(&tools, &["elicitation", "roots"], CallOptions::new());
                (name, answers.await)
            });
            if asking.len() >= 50 {
                check(&mut asking, mode).await;
            }
        }
        while !asking.is_empty() {
            check(&mut asking, mode).await;
        }
        manager.shutdown().await;
    }
}

type Asking = JoinSet<(
    &'static str,
    Result<serde_json::Value, mcp_pooled_tools::Error>,
)>;

async fn check(asking: &mut Asking, mode: (Sharing, Lifecycle)) {
    let next = tokio::time::timeout(LONG, asking.join_next());
    let (name, answers) = next.await.unwrap().unwrap().unwrap();
    let own = json!({ "elicitation": name, "roots": name });
    assert_eq!(answers.unwrap(), own, "{mode:?}");
}

#[tokio::test]
async fn a_call_with_a_handler_of_its_own_is_answered_by_that_and_the_next_by_the_scopes() {
    for mode in MODES {
        let manager = manager(mode).await;
        let tools = with_client(&manager.tools("test").unwrap(), "alice");
        for name in ["alice", "bob", "alice"] {
            let options = match name {
                "alice" => CallOptions::new(),
                name => CallOptions::new().handler(Caller {
                    name,
                    thinks: Duration::ZERO,
                }),
            };
            let answers = ask(&tools, &["elicitation"], options).await.unwrap();
            assert_eq!(answers["elicitation"], name, "{mode:?}");
        }
        let session = tools.session().await.unwrap();
        let answers = session.call_tool(caller::asking(&["elicitation"])).await;
        let answers = text(&answers.unwrap());
        assert!(answers.contains("alice"), "{mode:?}: {answers}");
        drop(session);
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn another_scope_of_the_same_server_is_not_answered_by_it() {
    for mode in MODES {
        let manager = manager(mode).await;
        let tools = manager.tools("test").unwrap();
        let scope = with_client(&tools, "alice");
        ask(&scope, &EVERYTHING, CallOptions::new()).await.unwrap();
        let other = ask(&tools, &["elicitation", "roots"], CallOptions::new()).await;
        let declined = json!({ "elicitation": "declined", "roots": "none" });
        assert_eq!(other.unwrap(), declined, "{mode:?}");
        manager.shutdown().await;
    }
}
