//! The dashboard, in a real browser.
//!
//! Chromium and playwright-core are not part of this repository. `.ci/run` installs them and says where in
//! `POOL_TEST_PLAYWRIGHT`; where that is not set these tests pass without having looked, and say so. With
//! `POOL_TEST_BROWSER=required` they fail instead, so that the gate cannot pass by forgetting to install them.
//!
//! What is looked at stands in `browser/dashboard.mjs`. It tells what is to happen behind the page, a line each, and is
//! told when it has.

use crate::common;
use std::{env, path::Path, process::Stdio, time::Duration};

use axum::Router;
use common::{Served, TOKEN, process, token};
use mcp_admin::Admin;
use mcp_metrics::AlertRules;
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, ConnectionManagerBuilder, PoolSettings, PooledTools,
    config::{CircuitBreakerSettings, Replay},
    core::connect::in_process::InProcess,
};
use mcp_testkit::TestServer;
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    sync::oneshot,
    task::JoinSet,
    time::{interval, timeout},
};

/// Whether there is a browser to look with.
fn browser() -> bool {
    let missing = match env::var("POOL_TEST_PLAYWRIGHT") {
        Err(_) => "POOL_TEST_PLAYWRIGHT is not set",
        Ok(_) if !Path::new(CHROMIUM).exists() => "/usr/bin/chromium is not there",
        Ok(_) => return true,
    };
    if env::var("POOL_TEST_BROWSER").is_ok_and(|value| value == "required") {
        panic!("{missing}");
    }
    eprintln!("skipped: {missing}");
    false
}

/// Goes through a scenario, and does as it says. Fails with what it wrote if it fails.
async fn look(scenario: &str, url: &str, extra: &str, mut order: impl AsyncFnMut(&str)) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/dashboard.mjs");
    let mut child = Command::new("node")
        .args([script, scenario, url, extra])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node starts");
    let mut answers = child.stdin.take().unwrap();
    let mut orders = BufReader::new(child.stdout.take().unwrap()).lines();
    let all = async {
        while let Some(line) = orders.next_line().await.unwrap() {
            order(&line).await;
            answers.write_all(b"done\n").await.unwrap();
        }
        child.wait_with_output().await.unwrap()
    };
    let output = timeout(PATIENCE, all).await.expect("it ends");
    let reported = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario}: {reported}");
}

async fn nothing(order: &str) {
    panic!("nothing was to be done, and not {order}");
}

/// A server that does as it should.
fn steady() -> ConnectionManagerBuilder {
    let mut rules = AlertRules::default();
    rules.resolve_after = Duration::from_secs(1);
    let settings = PoolSettings::new()
        .min_connections(1)
        .max_connections(2)
        .replay(Replay::Never)
        .call_timeout(Duration::from_secs(2))
        .circuit_breaker(CircuitBreakerSettings::new().failure_threshold(3));
    ConnectionManager::builder()
        .defaults(settings)
        .alert_rules(rules)
        .server("steady", process(&[]))
}

fn in_process(builder: ConnectionManagerBuilder, name: &str) -> ConnectionManagerBuilder {
    let server = TestServer::new();
    let settings = PoolSettings::new().min_connections(0);
    builder.connector(name, InProcess::new(move || server.clone()), settings)
}

async fn call(tools: &PooledTools) {
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
}

/// Three calls to which no answer comes: all at once, so that none is answered between them.
async fn fail(tools: &PooledTools) {
    // A call that runs out of time before there is a session says nothing of the server.
    call(tools).await;
    let unanswered = async || {
        let arguments = json!({ "ms": 60_000 }).as_object().cloned().unwrap();
        let hang = CallToolRequestParams::new("sleep").with_arguments(arguments);
        let options = CallOptions::new().timeout(Duration::from_secs(2));
        tools.call_tool_with(hang, options).await.unwrap_err();
    };
    tokio::join!(unanswered(), unanswered(), unanswered());
}

/// Calls and failing calls of a server, as the scenario wants them.
async fn obey(manager: &ConnectionManager, order: &str) {
    let (what, server) = order.split_once(' ').unwrap();
    let tools = manager.tools(server).unwrap();
    match what {
        "call" => call(&tools).await,
        "fail" => fail(&tools).await,
        _ => panic!("{order} is not known"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_seen_and_what_is_to_be_done_is_done() {
    if !browser() {
        return;
    }
    let manager = in_process(steady(), "flaky").build().await.unwrap();
    let served = Served::start(manager, |admin| admin).await;
    let order = async |order: &str| obey(&served.manager, order).await;
    look("live", &served.url("/"), "", order).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_is_seen_to_change_by_its_event_before_any_snapshot() {
    if !browser() {
        return;
    }
    let manager = in_process(steady(), "flaky").build().await.unwrap();
    let served = Served::start(manager, |admin| admin).await;
    let order = async |order: &str| obey(&served.manager, order).await;
    look("events", &served.url("/"), "", order).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_left_open_holds_no_more_for_it() {
    if !browser() {
        return;
    }
    let manager = in_process(steady(), "flaky").build().await.unwrap();
    call(&manager.tools("steady").unwrap()).await;
    let served = Served::start(manager, |admin| admin).await;
    look("hours", &served.url("/"), "", nothing).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_servers_and_hostile_names_fit_every_window_and_can_be_read() {
    if !browser() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let servers = json!({ "mcpServers": {
        "off": { "command": "nothing", "disabled": true },
        "broken": { "command": "/nowhere/at/all/in/a/folder/of/a/long/name/mcp-server-that-is-not-there" },
    } });
    std::fs::write(&file, servers.to_string()).unwrap();
    let broken = CircuitBreakerSettings::new().failure_threshold(1);
    let mut builder = steady().file(file).defaults(
        PoolSettings::new()
            .call_timeout(Duration::from_secs(2))
            .circuit_breaker(broken),
    );
    builder = in_process(builder, "<img src=x onerror=\"window.hacked=1\">");
    builder = in_process(builder, &"a-long-name-without-a-blank".repeat(4));
    for name in ["..", "a/b?c#d%20e"] {
        builder = in_process(builder, name);
    }
    for number in 0..36 {
        builder = in_process(builder, &format!("server-{number}"));
    }
    let manager = builder.build().await.unwrap();
    // Long enough for figures that take room.
    let steady = manager.tools("steady").unwrap();
    steady.call("sleep", json!({ "ms": 150 })).await.unwrap();
    let broken = manager.tools("broken").unwrap();
    broken.call("echo", json!({})).await.unwrap_err();
    let served = Served::start(manager, |admin| admin).await;
    look("looks", &served.url("/"), "", nothing).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_asked_for_and_a_wrong_one_is_said_to_be_wrong() {
    if !browser() {
        return;
    }
    let closed = |admin: Admin| admin.token(token()).open_reads(false);
    let served = Served::start(steady().build().await.unwrap(), closed).await;
    look("token", &served.url("/"), TOKEN, nothing).await;
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_works_in_a_folder_of_another_application() {
    if !browser() {
        return;
    }
    let admin = Admin::new(steady().build().await.unwrap());
    let admin = admin.address("127.0.0.1:0").open_reads(true);
    let app = Router::new()
        .nest_service("/x", admin.router())
        .nest("/y", admin.router());
    let bound = admin.bind().await.unwrap();
    let url = format!("http://{}/", bound.local_addr());
    let (end, ended) = oneshot::channel::<()>();
    let serving = bound.serve_app(app, async {
        let _ = ended.await;
    });
    let looking = async {
        look("nested", &url, "", nothing).await;
        end.send(()).unwrap();
    };
    tokio::join!(serving, looking);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_said_and_comes_back() {
    if !browser() {
        return;
    }
    let first = Served::start(steady().build().await.unwrap(), |admin| admin).await;
    let (url, address) = (first.url("/"), first.address);
    let mut running = Some(first);
    let order = async |order: &str| match order {
        "stop" => running.take().unwrap().end().await,
        "start" => {
            let another = in_process(ConnectionManager::builder(), "new");
            let same = |admin: Admin| admin.address(address.to_string());
            running = Some(Served::start(another.build().await.unwrap(), same).await);
        }
        _ => panic!("{order} is not known"),
    };
    look("lost", &url, "", order).await;
    running.unwrap().end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_of_the_documentation_are_there_and_small() {
    // `UPDATE_SCREENSHOTS=1` makes them again.
    if env::var_os("UPDATE_SCREENSHOTS").is_some() && browser() {
        take_pictures().await;
    }
    for name in ["light", "dark", "phone"] {
        let picture = std::fs::read(format!("{DOCS}/dashboard-{name}.png")).unwrap();
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        assert!(picture.len() < 200 * 1024, "{name}: {}", picture.len());
    }
}

async fn take_pictures() {
    let manager = scene().await;
    let mut callers = JoinSet::new();
    for (server, every, takes) in [
        ("filesystem", 45, 4),
        ("github", 60, 130),
        ("github", 70, 210),
        ("github", 80, 350),
        ("browser", 150, 40),
        ("time", 400, 2),
    ] {
        let tools = manager.tools(server).unwrap();
        callers.spawn(async move {
            let mut turns = interval(Duration::from_millis(every));
            for turn in 0_u64.. {
                turns.tick().await;
                let ms = takes + turn * 7919 % (takes + 1);
                // While the breaker is open they are refused, which is to be seen.
                let _ = tools.call("sleep", json!({ "ms": ms })).await;
            }
        });
    }
    let served = Served::start(manager, |admin| admin).await;
    let order = async |_: &str| {
        // The charts are to show something.
        tokio::time::sleep(Duration::from_secs(150)).await;
        fail(&served.manager.tools("browser").unwrap()).await;
    };
    look("pictures", &served.url("/"), DOCS, order).await;
    callers.shutdown().await;
    served.end().await;
}

/// Servers as a user may have them.
async fn scene() -> ConnectionManager {
    let breaker = CircuitBreakerSettings::new().failure_threshold(3);
    let alone = PoolSettings::new().max_in_flight(1).max_connections(4);
    ConnectionManager::builder()
        .server("filesystem", process(&[]))
        .server("github", process(&[]).pool(alone))
        .server(
            "browser",
            process(&[]).pool(
                PoolSettings::new()
                    .call_timeout(Duration::from_secs(2))
                    .circuit_breaker(breaker),
            ),
        )
        .server("time", process(&[]))
        .build()
        .await
        .unwrap()
}

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");

const CHROMIUM: &str = "/usr/bin/chromium";

/// For a whole scenario, on a machine with much to do.
const PATIENCE: Duration = Duration::from_secs(240);
