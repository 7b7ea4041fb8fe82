//! Lists that are known from an earlier run.

use std::{path::Path, time::Duration};

use mcp_pooled_tools::{ConnectionManager, ConnectionManagerBuilder, PoolSettings, config::Loader};
use mcp_testkit::{Era, Options, TestServer, process::wait_until};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::common::{
    LONG, text,
    wired::{Trouble, Wired},
};

const SERVERS: usize = 20;

fn wired() -> Vec<Wired> {
    (0..SERVERS)
        .map(|_| Wired::new(TestServer::new().with_era(Era::Legacy)))
        .collect()
}

async fn manager(folder: &Path, servers: &[Wired]) -> ConnectionManager {
    let mut builder: ConnectionManagerBuilder = ConnectionManager::builder().catalogue(folder);
    for (number, server) in servers.iter().enumerate() {
        let settings = PoolSettings::new().min_connections(0);
        builder = builder.connector(format!("s{number:02}"), server.clone(), settings);
    }
    builder.build().await.unwrap()
}

fn opens(servers: &[Wired]) -> u64 {
    servers.iter().map(Wired::opens).sum()
}

#[tokio::test(start_paused = true)]
async fn pain_44_pain_53_no_known_server_is_started_for_a_listing() {
    let folder = tempfile::tempdir().unwrap();
    let before = wired();
    let first = manager(folder.path(), &before).await;
    let listed = first.aggregator().list_all_tools().await.unwrap();
    assert!(listed.missing.is_empty() && opens(&before) == SERVERS as u64);
    first.shutdown().await;

    let servers = wired();
    for hanging in &servers[..3] {
        hanging.open_with(Trouble::Hangs);
    }
    let second = manager(folder.path(), &servers).await;
    let all = second.aggregator();
    let began = Instant::now();
    let again = all.list_all_tools().await.unwrap();
    assert!(
        json!(again) == json!(listed),
        "{} and {} tools",
        again.len(),
        listed.len()
    );
    let client = all.serve_in_process().await.unwrap();
    assert_eq!(client.list_all_prompts().await.unwrap().len(), 2 * SERVERS);
    assert_eq!((opens(&servers), began.elapsed()), (0, Duration::ZERO));

    // A call starts the server that it is for, and the lists of that are fetched again.
    let mut changes = all.list_changes();
    let called = all
        .call("s07__set_tools", json!({ "names": ["set_tools", "other"] }))
        .await
        .unwrap();
    assert!(!called.is_error.unwrap_or_default(), "{}", text(&called));
    assert!(timeout(LONG, changes.next()).await.unwrap().unwrap().tools);
    assert_eq!(opens(&servers), 1);
    let names = all.list_all_tools().await.unwrap();
    assert!(names.iter().any(|tool| tool.name == "s07__other"));
    second.shutdown().await;
}

/// The read is held by a pipe in place of the file.
#[cfg(unix)]
#[tokio::test]
async fn a_listing_that_is_dropped_while_lists_are_read_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Private lists of a modern one are not on disk.
    let legacy = || TestServer::new().with_era(Era::Legacy);
    let settings = || PoolSettings::new().min_connections(0);
    let manager = async |server: &Wired| {
        let builder = ConnectionManager::builder().catalogue(folder.path());
        let builder = builder.connector("s", server.clone(), settings());
        builder.build().await.unwrap()
    };
    let first = manager(&Wired::new(legacy())).await;
    let listed = first.aggregator().list_all_tools().await.unwrap();
    let written = || {
        let files = std::fs::read_dir(folder.path()).unwrap().flatten();
        let mut paths = files.map(|file| file.path());
        paths.find(|path| path.extension().is_some_and(|end| end == "json"))
    };
    assert!(wait_until(LONG, || written().is_some()).await);
    first.shutdown().await;
    let file = written().unwrap();
    let content = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());

    let server = Wired::new(legacy());
    let second = manager(&server).await;
    let all = second.aggregator();
    let listing = tokio::spawn({
        let all = all.clone();
        async move { all.list_all_tools().await }
    });
    let pipe = file.clone();
    let open = move || std::fs::OpenOptions::new().write(true).open(pipe);
    let opened = timeout(LONG, tokio::task::spawn_blocking(open)).await;
    let mut pipe = opened.unwrap().unwrap().unwrap();
    listing.abort();
    assert!(listing.await.unwrap_err().is_cancelled());
    let writing = tokio::task::spawn_blocking(move || {
        std::io::Write::write_all(&mut pipe, &content).unwrap();
    });
    let again = timeout(LONG, all.list_all_tools()).await.unwrap().unwrap();
    writing.await.unwrap();
    assert!(json!(again) == json!(listed) && !again.is_empty());
    assert_eq!(server.opens(), 0, "a known server is not started");
    second.shutdown().await;
}

#[tokio::test]
async fn corrupt_files_cost_a_listing_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let servers = [Wired::new(TestServer::new().with_era(Era::Legacy))];
    let first = manager(folder.path(), &servers).await;
    let listed = first.aggregator().list_all_tools().await.unwrap();
    first.shutdown().await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        std::fs::write(file.unwrap().path(), "{\"version\": 1, \"ser").unwrap();
    }
    let second = manager(folder.path(), &servers).await;
    let again = second.aggregator().list_all_tools().await.unwrap();
    assert_eq!(json!(again), json!(listed));
    assert_eq!(opens(&servers), 2);
    second.shutdown().await;
}

#[tokio::test]
async fn private_lists_of_a_server_that_may_have_credentials_are_not_written_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let private = TestServer::with_options(Options {
        private_lists: true,
        ..Options::default()
    });
    let manager = manager(folder.path(), &[Wired::new(private)]).await;
    let page = manager.aggregator().list_tools(None).await.unwrap();
    assert_eq!(json!(page)["cacheScope"], "private");
    manager.shutdown().await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_reload_changes_what_is_exposed_and_no_other_name() {
    let process = json!({ "command": mcp_testkit::binary(), "args": [] });
    let config = |more: serde_json::Value| {
        let mut servers = json!({ "a": process, "b": process });
        servers
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let text = json!({ "mcpServers": servers }).to_string();
        Loader::new()
            .environment([("", ""); 0])
            .text("f", text)
            .load()
            .unwrap()
    };
    let manager = ConnectionManager::from_config(config(json!({})))
        .await
        .unwrap();
    let all = manager.aggregator();
    let names = async || {
        let tools = all.list_all_tools().await.unwrap();
        let names: Vec<_> = tools.iter().map(|tool| tool.name.to_string()).collect();
        names
    };
    let before = names().await;
    let mut changes = all.list_changes();
    let mut only = process.clone();
    only["aggregator"] = json!({ "allow": ["echo"], "aliases": { "echo": "say" } });
    let changed = manager
        .reload(config(json!({ "b": only, "c": process })))
        .unwrap();
    assert_eq!(
        (changed.added, changed.exposed),
        (vec!["c".to_owned()], vec!["b".to_owned()])
    );
    let after = names().await;
    let of = |names: &[String], server: &str| {
        let prefix = format!("{server}__");
        let own = names.iter().filter(|name| name.starts_with(&prefix));
        own.cloned().collect::<Vec<_>>()
    };
    assert_eq!(of(&after, "a"), of(&before, "a"));
    assert_eq!(of(&after, "b"), ["b__say"]);
    assert_eq!(of(&after, "c").len(), of(&before, "b").len());
    assert!(timeout(LONG, changes.next()).await.unwrap().unwrap().tools);
    manager.reload(config(json!({}))).unwrap();
    assert_eq!(names().await, before);
    manager.shutdown().await;
}
