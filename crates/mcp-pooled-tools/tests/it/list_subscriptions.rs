//! Subscriptions to changes of a server's tools, and the age of a list without one.

use crate::common;
use crate::common::wired;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{LONG, manager, process, whoami};
use mcp_pooled_tools::{PoolSettings, PooledTools, config::Lifecycle};
use mcp_testkit::{
    Options, TestServer, process as processes,
    scripted_http::{Answer, ScriptedHttp},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
        SubscriptionFilter,
    },
    service::{RequestContext, SubscriptionContext},
};
use serde_json::json;
use tokio::time::Instant;
use wired::Wired;

const LISTS: &str = "tools/list";
const LISTEN: &str = "subscriptions/listen";
const ERAS: [Lifecycle; 2] = [Lifecycle::Initialize, Lifecycle::Discover];

fn server(list_ttl: Option<Duration>) -> TestServer {
    TestServer::with_options(Options {
        list_ttl,
        ..Options::default()
    })
}

fn lasting() -> TestServer {
    server(Some(Duration::from_secs(3600)))
}

async fn names(tools: &PooledTools) -> Vec<String> {
    let list = tools.list_all_tools().await.unwrap();
    list.iter().map(|tool| tool.name.to_string()).collect()
}

#[tokio::test]
async fn sessions_more_or_less_do_not_make_the_list_stale() {
    for era in ERAS {
        let wired = Wired::new(lasting());
        let manager = wired.manager(PoolSettings::new().lifecycle(era)).await;
        let tools = manager.tools("test").unwrap();
        let first = tools.session().await.unwrap();
        names(&tools).await;
        let second = tools.session().await.unwrap();
        let third = tools.session().await.unwrap();
        assert!(wired.opens() >= 3, "{era}");
        names(&tools).await;
        // One that ends by itself takes nothing with it either.
        let left = manager.pool_status("test").unwrap().sessions.len() - 1;
        second.session().cancellation_token().cancel();
        let gone = || manager.pool_status("test").unwrap().sessions.len() == left;
        assert!(processes::wait_until(LONG, gone).await);
        names(&tools).await;
        assert_eq!(wired.server.requests_of(LISTS), 1, "{era}");
        drop((first, second, third));
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_list_is_asked_for_when_its_changes_would_be_heard() {
    for _ in 0..20 {
        let server = Minutes::default();
        let wired = {
            let server = server.clone();
            Wired::over(move || server.clone())
        };
        let settings = PoolSettings::new().lifecycle(Lifecycle::Discover);
        let manager = wired.manager(settings).await;
        manager
            .tools("test")
            .unwrap()
            .list_all_tools()
            .await
            .unwrap();
        assert!(server.listened.load(Relaxed));
        assert_eq!(server.unheard_lists.load(Relaxed), 0);
        manager.shutdown().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_say_that_it_will_tell_is_waited_for_a_second() {
    let wired = Wired::deaf_to(LISTEN, lasting());
    let settings = PoolSettings::new().lifecycle(Lifecycle::Discover);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let began = Instant::now();
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_millis(1_100),
        "{took:?}"
    );
    // Its lists are good for the time that they are given.
    names(&tools).await;
    names(&tools).await;
    assert_eq!(wired.server.requests_of(LISTS), 1);
    manager.shutdown().await;
}

/// Changes the server's tools where the pool under test does not hear of it.
async fn change(server: &TestServer, to: &str) {
    let manager = Wired::new(server.clone())
        .manager(PoolSettings::new())
        .await;
    let tools = manager.tools("test").unwrap();
    tools
        .call("set_tools", json!({ "names": [to] }))
        .await
        .unwrap();
    manager.shutdown().await;
}

#[tokio::test]
async fn what_changed_while_nobody_listened_is_seen_once_somebody_does() {
    for era in ERAS {
        let server = lasting();
        let wired = Wired::new(server.clone());
        let manager = wired.manager(PoolSettings::new().lifecycle(era)).await;
        let tools = manager.tools("test").unwrap();
        let before = names(&tools).await;
        wired.go_down();
        let nobody = || manager.pool_status("test").unwrap().sessions.is_empty();
        assert!(processes::wait_until(LONG, nobody).await);
        change(&server, "fresh").await;
        assert_eq!(
            names(&tools).await,
            before,
            "{era}: good for an hour, says the server"
        );
        wired.come_up();
        drop(tools.session().await.unwrap());
        assert_eq!(names(&tools).await, ["fresh"], "{era}");
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_list_without_a_time_does_not_outlive_those_who_listen() {
    let server = server(None);
    let wired = Wired::new(server.clone());
    let settings = PoolSettings::new().lifecycle(Lifecycle::Initialize);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    names(&tools).await;
    names(&tools).await;
    assert_eq!(server.requests_of(LISTS), 1);
    wired.cut();
    let nobody = || manager.pool_status("test").unwrap().sessions.is_empty();
    assert!(processes::wait_until(LONG, nobody).await);
    change(&server, "fresh").await;
    assert_eq!(names(&tools).await, ["fresh"], "the very next list");
    manager.shutdown().await;
}

/// The same version, and other tools: only that it is another process tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_17_the_list_of_a_process_that_was_killed_is_not_that_of_the_next() {
    for era in ERAS {
        let settings = PoolSettings::new().lifecycle(era).max_connections(1);
        let manager = manager(process(&["--list-ttl", "3600000"]), settings).await;
        let tools = manager.tools("test").unwrap();
        let all = names(&tools).await;
        let changed = json!({ "names": ["whoami"] });
        tools.call("set_tools", changed).await.unwrap();
        let seen = async { while names(&tools).await != ["whoami"] {} };
        tokio::time::timeout(LONG, seen).await.unwrap();
        let seen = whoami(&tools.call("whoami", json!({})).await.unwrap());
        let pid = u32::try_from(seen["pid"].as_u64().unwrap()).unwrap();
        processes::signal(pid, processes::Signal::KILL).unwrap();
        assert!(processes::wait_gone([pid], LONG).await);
        tools.call("whoami", json!({})).await.unwrap();
        assert_eq!(names(&tools).await, all, "{era}");
        manager.shutdown().await;
    }
}

/// Takes the minutes of who asked for what, and when.
#[derive(Clone, Default)]
struct Minutes {
    listened: Arc<AtomicBool>,
    unheard_lists: Arc<AtomicU64>,
}

impl ServerHandler for Minutes {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities)
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        self.listened.store(true, Relaxed);
        Some(asked.clone())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        subscription.cancelled().await;
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if !self.listened.load(Relaxed) {
            self.unheard_lists.fetch_add(1, Relaxed);
        }
        Ok(ListToolsResult::with_all_items(Vec::new()))
    }
}

#[tokio::test]
async fn over_http_a_list_is_kept_only_where_a_change_of_it_would_be_heard() {
    let heard = Answer::events().bytes(": hi\n\n").hang();
    for (stream, lists_more) in [(heard, 0), (Answer::new(405, ""), 2)] {
        let server =
            ScriptedHttp::start(move |asked| (asked.verb == "GET").then(|| stream.clone())).await;
        let http = mcp_pooled_tools::ServerConfig::http(server.url());
        let manager = manager(http, PoolSettings::new()).await;
        let tools = manager.tools("test").unwrap();
        tools.list_all_tools().await.unwrap();
        let before = server.count(LISTS);
        for _ in 0..2 {
            tools.list_all_tools().await.unwrap();
        }
        assert_eq!(server.count(LISTS) - before, lists_more);
        manager.shutdown().await;
    }
}
