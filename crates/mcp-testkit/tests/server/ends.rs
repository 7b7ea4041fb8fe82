//! How server processes end, and those that do not want to.

use std::time::Duration;

use mcp_testkit::process::{Signal, alive, children_of, group_of, signal, wait_gone, wait_until};

use serde_json::json;

use crate::support::{A_WHILE, Raw, SOON, command, open};

#[tokio::test]
async fn a_server_ends_with_its_stdin_and_leaves_with_success() {
    let mut child = command("")
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = tokio::time::timeout(SOON, child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn a_server_ends_by_sigterm() {
    let pair = open("").await;
    signal(pair.pid, Signal::TERM).unwrap();
    assert!(pair.is_gone().await);
}

#[tokio::test]
async fn a_server_that_ignores_sigterm_still_answers_after_it() {
    let pair = open("--ignore-sigterm").await;
    signal(pair.pid, Signal::TERM).unwrap();
    assert_eq!(
        pair.ask("echo", json!({"message": "still here"})).await,
        "still here"
    );
    signal(pair.pid, Signal::KILL).unwrap();
    assert!(pair.is_gone().await);
}

#[tokio::test]
async fn a_server_that_ignores_the_end_of_stdin_lives_until_killed() {
    let mut child = command("--ignore-eof")
        .stdin(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id().unwrap();
    assert!(tokio::time::timeout(A_WHILE, child.wait()).await.is_err());
    assert!(alive(pid));
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_grandchild_from_the_start_is_in_the_group_of_its_parent() {
    for kind in ["heeds", "ignores"] {
        let mut raw = Raw::spawn(&format!("--grandchild {kind}"));
        raw.initialize().await;
        let server = raw.child.id().unwrap();
        let children = children_of(server);
        assert_eq!(children.len(), 1);
        assert_eq!(group_of(children[0]), group_of(server));
        signal(server, Signal::KILL).unwrap();
        raw.close_stdin();
        let ends_by_itself = wait_gone(children.clone(), Duration::from_millis(300)).await;
        assert_eq!(ends_by_itself, kind == "heeds");
        if !ends_by_itself {
            signal(children[0], Signal::KILL).unwrap();
        }
    }
}

#[tokio::test]
async fn no_server_outlives_its_maximum_lifetime() {
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_mcp-testkit"))
        .args(["--ignore-eof", "--ignore-sigterm", "--max-lifetime", "0"])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = tokio::time::timeout(SOON, child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(124));
}

#[tokio::test]
async fn a_zombie_is_not_alive() {
    let mut child = command("--exit 0").spawn().unwrap();
    let pid = child.id().unwrap();
    assert!(wait_until(SOON, || !alive(pid)).await);
    assert!(
        std::fs::exists(format!("/proc/{pid}")).unwrap(),
        "it has not been waited for yet"
    );
    child.wait().await.unwrap();
}
