//! Lists of tools: whole, asked for once, and never stale.

use crate::common;
use crate::common::wired;
use std::{sync::Arc, time::Duration};

use common::{LONG, manager, process};
use mcp_pooled_tools::{
    ConnectionManager, Identity, PoolSettings, PooledTools, ServerConfig, config::Lifecycle,
};
use mcp_testkit::{HttpOptions, HttpServer, Options, TestServer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};
use wired::Wired;

const LISTS: &str = "tools/list";
const ERAS: [Lifecycle; 2] = [Lifecycle::Initialize, Lifecycle::Discover];

const HOUR: Duration = Duration::from_secs(3600);

/// A server whose lists are good until it says otherwise: in the modern era, rmcp's say 0 if they say nothing.
fn lasting() -> TestServer {
    TestServer::with_options(Options {
        list_ttl: Some(HOUR),
        ..Options::default()
    })
}

async fn names(tools: &PooledTools) -> Vec<String> {
    let list = tools.list_all_tools().await.unwrap();
    list.iter().map(|tool| tool.name.to_string()).collect()
}

async fn set_tools(tools: &PooledTools, names: &[&str]) {
    tools
        .call("set_tools", json!({ "names": names }))
        .await
        .unwrap();
}

/// The next list is another one, as soon as the word of it has come.
async fn sees(tools: &PooledTools, expected: &[&str]) {
    let waiting = async {
        while names(tools).await != expected {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, waiting)
        .await
        .expect("the change is seen");
}

async fn requests(tools: &PooledTools, method: &str) -> u64 {
    let stats = tools.call("stats", json!({})).await.unwrap();
    let stats: Value = stats.structured_content.expect("stats are structured");
    stats["requests"][method].as_u64().unwrap_or(0)
}

/// Changes the list again and again, and follows it.
async fn follows(manager: &ConnectionManager) {
    let tools = manager.tools("test").unwrap();
    let all = names(&tools).await;
    assert!(all.iter().any(|name| name == "count"), "{all:?}");
    for change in 0..10 {
        let fresh = format!("fresh-{change}");
        set_tools(&tools, &["stats", &fresh]).await;
        sees(&tools, &["stats", &fresh]).await;
    }
    let lists = requests(&tools, LISTS).await;
    sees(&tools, &["stats", "fresh-9"]).await;
    assert_eq!(requests(&tools, LISTS).await, lists, "and keeps it");
}

#[tokio::test]
async fn pain_17_a_change_in_either_era_is_seen_by_the_next_list() {
    for era in ERAS {
        let settings = PoolSettings::new().lifecycle(era);
        let manager = Wired::new(lasting()).manager(settings).await;
        follows(&manager).await;
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_17_a_change_in_either_era_is_seen_by_the_next_list_of_a_process() {
    for era in ERAS {
        let settings = PoolSettings::new().lifecycle(era);
        let manager = manager(process(&["--list-ttl", "3600000"]), settings).await;
        follows(&manager).await;
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_17_a_change_in_either_era_is_seen_by_the_next_list_over_http() {
    for era in ERAS {
        let server = HttpServer::start(HttpOptions {
            server: lasting(),
            ..HttpOptions::default()
        })
        .await;
        let settings = PoolSettings::new().lifecycle(era);
        let manager = manager(ServerConfig::http(server.url()), settings).await;
        // Its stream for server messages is opened beside the first calls.
        follows(&manager).await;
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn in_the_legacy_era_the_word_of_a_change_comes_before_the_answer_that_follows_it() {
    let settings = PoolSettings::new()
        .lifecycle(Lifecycle::Initialize)
        .max_connections(1);
    let manager = Wired::new(lasting()).manager(settings).await;
    let tools = manager.tools("test").unwrap();
    for change in 0..100 {
        let fresh = format!("fresh-{change}");
        set_tools(&tools, &[&fresh]).await;
        assert_eq!(names(&tools).await, [fresh], "the very next list");
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn a_list_of_five_pages_is_whole() {
    for era in ERAS {
        let settings = || PoolSettings::new().lifecycle(era);
        let one = manager(process(&["--list-ttl", "3600000"]), settings()).await;
        let five = manager(
            process(&["--list-ttl", "3600000", "--pages", "5"]),
            settings(),
        )
        .await;
        let (whole, paged) = (one.tools("test").unwrap(), five.tools("test").unwrap());
        assert_eq!(names(&paged).await, names(&whole).await);
        assert_eq!(requests(&whole, LISTS).await, 1);
        assert_eq!(requests(&paged, LISTS).await, 5);
        names(&paged).await;
        assert_eq!(requests(&paged, LISTS).await, 5, "and is asked for once");
        one.shutdown().await;
        five.shutdown().await;
    }
}

#[tokio::test]
async fn no_call_to_a_process_is_preceded_by_a_list() {
    for era in ERAS {
        let settings = PoolSettings::new().lifecycle(era);
        let manager = manager(process(&[]), settings).await;
        let tools = manager.tools("test").unwrap();
        for _ in 0..5 {
            tools.call("echo", json!({ "message": "m" })).await.unwrap();
        }
        assert_eq!(requests(&tools, LISTS).await, 0);
        manager.shutdown().await;
    }
}

/// How often a hundred who ask at once make the server list.
async fn herd(wired: &Wired, manager: &ConnectionManager) -> u64 {
    let tools = manager.tools("test").unwrap();
    let before = wired.server.requests_of(LISTS);
    let asking: JoinSet<_> = (0..100)
        .map(|_| {
            let tools = tools.clone();
            async move { names(&tools).await.len() }
        })
        .collect();
    let lengths = asking.join_all().await;
    assert!(lengths.iter().all(|length| *length == lengths[0]));
    wired.server.requests_of(LISTS) - before
}

#[tokio::test]
async fn a_hundred_who_ask_first_ask_the_server_once() {
    for era in ERAS {
        let wired = Wired::new(lasting());
        let settings = PoolSettings::new().lifecycle(era);
        let manager = wired.manager(settings).await;
        assert_eq!(herd(&wired, &manager).await, 1, "{era}");
        // Another handle has the same list.
        names(&manager.tools("test").unwrap()).await;
        assert_eq!(wired.server.requests_of(LISTS), 1, "{era}");
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_list_without_a_time_serves_who_waited_for_it_and_nobody_later() {
    // rmcp's modern servers say `ttlMs: 0` unless told otherwise.
    let wired = Wired::new(TestServer::new());
    let settings = PoolSettings::new().lifecycle(Lifecycle::Discover);
    let manager = wired.manager(settings).await;
    let lists = herd(&wired, &manager).await;
    assert!((1..=2).contains(&lists), "{lists}");
    let tools = manager.tools("test").unwrap();
    names(&tools).await;
    names(&tools).await;
    assert_eq!(wired.server.requests_of(LISTS), lists + 2);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_is_kept_as_long_as_its_server_says_that_it_is_good() {
    let wired = Wired::new(TestServer::with_options(Options {
        list_ttl: Some(Duration::from_secs(10)),
        ..Options::default()
    }));
    let settings = PoolSettings::new().lifecycle(Lifecycle::Discover);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    for (wait, lists) in [(0, 1), (9, 1), (2, 2), (9, 2), (2, 3)] {
        sleep(Duration::from_secs(wait)).await;
        names(&tools).await;
        assert_eq!(
            wired.server.requests_of(LISTS),
            lists,
            "after {wait} s more"
        );
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn identities_do_not_share_a_list() {
    for era in ERAS {
        let wired = Wired::new(TestServer::with_options(Options {
            private_lists: true,
            list_ttl: Some(HOUR),
            ..Options::default()
        }));
        let manager = wired.manager(PoolSettings::new().lifecycle(era)).await;
        let nobody = manager.tools("test").unwrap();
        let alice = nobody.with_identity(Identity::new("alice").env("TOKEN", "a"));
        let bob = nobody.with_identity(Identity::new("bob").env("TOKEN", "b"));
        for (asked, tools) in [&nobody, &alice, &bob].into_iter().enumerate() {
            names(tools).await;
            names(tools).await;
            assert_eq!(wired.server.requests_of(LISTS), asked as u64 + 1, "{era}");
        }
        let alice_again = nobody.with_identity(Identity::new("alice").env("TOKEN", "a"));
        names(&alice_again).await;
        assert_eq!(wired.server.requests_of(LISTS), 3, "{era}");
        manager.shutdown().await;
    }
}

/// A process that was replaced by one with other tools, and a version that says so.
#[tokio::test]
async fn another_version_of_the_server_brings_another_list() {
    let server = Arc::new(Mutex::new(lasting()));
    let wired = {
        let server = Arc::clone(&server);
        Wired::over(move || server.lock().clone())
    };
    let settings = PoolSettings::new().lifecycle(Lifecycle::Initialize);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    // Held, so that one session is subscribed all the time, and only the version changes.
    let held = tools.session().await.unwrap();
    names(&tools).await;
    let next = TestServer::with_options(Options {
        version: "99".into(),
        list_ttl: Some(HOUR),
        ..Options::default()
    });
    *server.lock() = next.clone();
    let more = [
        tools.session().await.unwrap(),
        tools.session().await.unwrap(),
    ];
    names(&tools).await;
    assert_eq!(next.requests_of(LISTS), 1);
    names(&tools).await;
    assert_eq!(next.requests_of(LISTS), 1, "and is kept");
    drop((held, more));
    manager.shutdown().await;
}
