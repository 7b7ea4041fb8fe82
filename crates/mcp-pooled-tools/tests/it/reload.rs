//! Reloads under load: callers notice only what they asked for.

use crate::common;
use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use common::{
    LONG,
    project::{Project, server, unique, who},
};
use mcp_pooled_tools::{
    ConnectionManager, Error, PoolSettings, PooledTools,
    config::{Loader, Origin},
};
use mcp_testkit::{Era, HttpOptions, HttpServer, process as processes};
use serde_json::json;
use tokio::task::JoinSet;

/// Callers that call without a pause until they are told to stop; none of their calls may fail.
struct Load {
    callers: JoinSet<Result<(), Error>>,
    over: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Load {
    fn on(tools: &PooledTools, callers: u64) -> Self {
        let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut tasks = JoinSet::new();
        for number in 0..callers {
            let (tools, over, calls) = (tools.clone(), Arc::clone(&over), Arc::clone(&calls));
            tasks.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    tools.call("sleep", json!({ "ms": number % 16 })).await?;
                    AtomicU64::fetch_add(&calls, 1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Self {
            callers: tasks,
            over,
            calls,
        }
    }

    /// Every caller has had an answer or two since.
    async fn goes_on(&self) {
        let goal = self.calls.load(Ordering::Relaxed) + 2 * self.callers.len() as u64;
        let calls = || self.calls.load(Ordering::Relaxed) >= goal;
        assert!(processes::wait_until(LONG, calls).await);
    }

    async fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap().expect("no call failed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_reloads_of_sizes_and_one_of_a_command_fail_no_call_of_64_callers() {
    let (first, second) = (unique("first"), unique("second"));
    let sizes = |n: u64| json!({ "min_connections": 1, "max_connections": n, "scale_up_at": 1 });
    let project = Project::new(json!({ "a": server(&first, sizes(2)) })).await;
    let tools = project.manager.tools("a").unwrap();
    let load = Load::on(&tools, 64);
    load.goes_on().await;
    for (number, size) in [5, 1, 3, 8, 2].into_iter().enumerate() {
        let status = project
            .change(json!({ "a": server(&first, sizes(size)) }))
            .await;
        assert_eq!(status.reloads, number as u64 + 1, "{status:#?}");
        assert_eq!(u64::from(project.pool("a").connections.max), size);
        load.goes_on().await;
    }
    let of_first = processes::by_marker(&first);
    assert!(!of_first.is_empty());

    project
        .change(json!({ "a": server(&second, sizes(4)) }))
        .await;
    assert!(
        processes::wait_gone(of_first, LONG).await,
        "the old ones go when their calls are done"
    );
    load.goes_on().await;
    for size in [6, 2, 7, 1, 4] {
        project
            .change(json!({ "a": server(&second, sizes(size)) }))
            .await;
        assert_eq!(u64::from(project.pool("a").connections.max), size);
        load.goes_on().await;
    }
    let (_, argv) = who(&tools).await;
    assert!(
        argv.contains(&second),
        "a handle from before follows: {argv}"
    );
    load.end().await;
    let status = project.pool("a");
    assert_eq!((status.in_flight, status.waiters), (0, 0));
    assert_eq!(project.manager.status().last_reload_error, None);
    project.manager.shutdown().await;
    assert!(processes::by_marker(&first).is_empty());
    assert!(processes::by_marker(&second).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_url_fails_no_call_and_the_sessions_at_the_old_one_are_ended_there() {
    let legacy = || HttpOptions {
        era: Era::Legacy,
        ..HttpOptions::default()
    };
    let (first, second) = (
        HttpServer::start(legacy()).await,
        HttpServer::start(legacy()).await,
    );
    let at = |url: String| json!({ "a": { "url": url, "pool": { "max_connections": 3 } } });
    let project = Project::new(at(first.url())).await;
    let load = Load::on(&project.manager.tools("a").unwrap(), 32);
    load.goes_on().await;
    project.change(at(second.url())).await;
    load.goes_on().await;
    load.goes_on().await;
    let ended = || first.deletes() == first.server().initializations();
    assert!(processes::wait_until(LONG, ended).await);
    let at_first = first.server().calls();
    load.goes_on().await;
    assert_eq!(first.server().calls(), at_first);
    load.end().await;
    project.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_did_not_change_keeps_its_sessions() {
    let marker = unique("unchanged");
    let pool = json!({ "min_connections": 3, "initialization": "eager" });
    let project =
        Project::new(json!({ "a": server(&marker, pool.clone()), "b": server("b", json!({})) }))
            .await;
    let (a, b) = (
        project.manager.tools("a").unwrap(),
        project.manager.tools("b").unwrap(),
    );
    who(&a).await;
    project
        .until(|_| project.pool("a").connections.idle == 3)
        .await;
    let ids = || -> BTreeSet<_> {
        let status = project.pool("a");
        status.sessions.iter().map(|session| session.id).collect()
    };
    let (before, b_before) = (ids(), who(&b).await.0);
    // Written otherwise, and with another setting that needs no other session.
    let mut same = pool.clone();
    same["max_waiters"] = 7.into();
    let mut same = server(&marker, same);
    same["description"] = "the same".into();
    project
        .change(json!({ "a": same, "b": server("b2", json!({})) }))
        .await;
    assert_eq!(ids(), before);
    assert_ne!(who(&b).await.0, b_before);
    project.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_code_has_set_survives_a_reload_and_limits_follow_the_file() {
    let project = Project::new(json!({ "a": server("a", json!({})) })).await;
    let code = PoolSettings::new().max_connections(4);
    project.manager.configure_server("a", code).unwrap();
    project
        .change(json!({ "a": server("other", json!({ "max_connections": 9, "max_waiters": 5 })) }))
        .await;
    let settings = project.manager.settings("a").unwrap();
    let origin = |name: &str| {
        let found = settings.settings.iter().find(|found| found.setting == name);
        found.unwrap().origin.clone()
    };
    assert_eq!(settings.effective.max_connections, 4);
    assert_eq!(origin("max_connections"), Origin::Code);
    assert_eq!(settings.effective.max_waiters, 5);
    assert!(matches!(origin("max_waiters"), Origin::File { .. }));

    let before = project.manager.status().reloads;
    fs::write(
        project.folder.path().join("mcp-pool.toml"),
        "[limits]\nmax_total_connections = 7\n[defaults]\nretry_attempts = 9\n",
    )
    .unwrap();
    let status = project.until(|status| status.reloads > before).await;
    assert_eq!(status.max_connections, 7);
    let settings = project.manager.settings("a").unwrap().effective;
    assert_eq!((settings.retry_attempts, settings.max_connections), (9, 4));
    project.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_in_line_for_a_server_that_does_not_come_move_to_the_new_one() {
    let hung = json!({
        "command": mcp_testkit::binary(),
        "args": ["--hang-before-handshake"],
        "pool": { "connection_timeout": 600, "call_timeout": 600 },
    });
    let project = Project::new(json!({ "a": hung })).await;
    let tools = project.manager.tools("a").unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let tools = tools.clone();
        callers.spawn(async move { tools.call("echo", json!({ "message": "x" })).await });
    }
    project.until(|_| project.pool("a").waiters == 8).await;
    project
        .change(json!({ "a": server("sound", json!({})) }))
        .await;
    while let Some(answer) = callers.join_next().await {
        answer.unwrap().expect("from the new server");
    }
    project.manager.shutdown().await;
}

#[tokio::test]
async fn a_manager_that_knows_no_files_says_so_and_can_be_given_a_configuration() {
    let load = |pool: &str| {
        let text = format!(r#"{{"a": {{"command": "x", "pool": {pool}}}}}"#);
        Loader::new().text("f", text).load().unwrap()
    };
    let manager = ConnectionManager::from_config(load("{}")).await.unwrap();
    let error = manager.watch().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("there are no files to follow"),
        "{error}"
    );
    let changes = manager.reload(load(r#"{"max_connections": 3}"#)).unwrap();
    assert_eq!(changes.reconfigured, ["a"]);
    assert_eq!(manager.settings("a").unwrap().effective.max_connections, 3);
    manager.shutdown().await;
}
