//! The tools that go wrong when called, each on a process of its own.

use std::{process::Stdio, time::Duration};

use mcp_testkit::process::{self, Signal, alive, signal, wait_gone, wait_until};
use rmcp::{service::ClientServiceExt, transport::TokioChildProcess};

use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::support::{A_WHILE, Raw, SOON, auto, command, open, text};

#[tokio::test]
async fn exit_ends_the_process_in_the_middle_of_the_call() {
    let pair = open("").await;
    assert!(pair.call("exit", json!({"code": 3})).await.is_err());
    assert!(pair.is_gone().await);
}

#[tokio::test]
async fn exit_leaves_its_message_on_stderr() {
    let (child, stderr) = TokioChildProcess::builder(command(""))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let client = ().serve_with_lifecycle(child, auto()).await.unwrap();
    let arguments = json!({"code": 3, "message": "fatal: out of luck", "after_ms": 1});
    assert!(
        crate::support::call(&client, "exit", arguments)
            .await
            .is_err()
    );
    let mut message = String::new();
    stderr.unwrap().read_to_string(&mut message).await.unwrap();
    assert_eq!(message, "fatal: out of luck\n");
}

#[tokio::test]
async fn a_frozen_server_stops_reading_its_stdin() {
    let pair = open("").await;
    let freezing = pair.call("freeze", json!({}));
    assert!(tokio::time::timeout(A_WHILE, freezing).await.is_err());
    assert!(pair.is_silent().await);

    // More than a pipe and the buffers on both its ends hold.
    let message = "x".repeat(1 << 20);
    let stuck = pair.call("echo", json!({"message": message}));
    assert!(tokio::time::timeout(A_WHILE, stuck).await.is_err());
    assert!(alive(pair.pid));
    assert!(unread_stdin(pair.pid) > 0);
    signal(pair.pid, Signal::KILL).unwrap();
    assert!(pair.is_gone().await);
}

#[tokio::test]
async fn a_stopped_server_is_stopped_by_a_signal_and_goes_on_by_another() {
    let pair = open("").await;
    let freezing = pair.call("freeze", json!({"how": "stop"}));
    assert!(tokio::time::timeout(A_WHILE, freezing).await.is_err());
    assert!(wait_until(SOON, || process::stopped(pair.pid)).await);
    assert!(pair.is_silent().await);
    signal(pair.pid, Signal::CONT).unwrap();
    assert_eq!(pair.ask("echo", json!({"message": "back"})).await, "back");
}

#[tokio::test]
async fn close_stdout_leaves_a_living_process_that_cannot_answer() {
    let mut raw = Raw::spawn("");
    raw.initialize().await;
    raw.begin_call(1, "close_stdout", json!({})).await;
    assert_eq!(raw.line().await, None);
    assert!(raw.alive());
}

#[tokio::test]
async fn garbage_between_two_replies_does_not_spoil_them() {
    let pair = open("").await;
    assert_eq!(
        pair.ask("garbage", json!({"lines": 40})).await,
        "40 lines of garbage"
    );
    assert!(pair.answers().await);
}

#[tokio::test]
async fn a_huge_line_is_dropped_by_rmcp_and_its_call_never_ends() {
    let pair = open("").await;
    let huge = pair.call("huge_line", json!({}));
    assert!(
        tokio::time::timeout(Duration::from_millis(600), huge)
            .await
            .is_err()
    );
    assert!(alive(pair.pid));

    let below_the_limit = json!({"bytes": 15 << 20});
    assert_eq!(pair.ask("huge_line", below_the_limit).await.len(), 15 << 20);
}

#[tokio::test]
async fn flood_stderr_waits_until_somebody_drains_it() {
    let (child, stderr) = TokioChildProcess::builder(command(""))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let client = ().serve_with_lifecycle(child, auto()).await.unwrap();
    let flood = crate::support::call(&client, "flood_stderr", json!({"bytes": 300_000}));
    tokio::pin!(flood);
    assert!(tokio::time::timeout(A_WHILE, &mut flood).await.is_err());

    let mut drained = vec![0; 300_000];
    let mut stderr = stderr.unwrap();
    let (answer, read) = tokio::join!(flood, stderr.read_exact(&mut drained));
    assert_eq!(text(&answer.unwrap()), "300000 bytes on stderr");
    assert_eq!(read.unwrap(), 300_000);
}

#[tokio::test]
async fn a_grandchild_that_heeds_stdin_outlives_its_parent_until_the_client_lets_go() {
    for holds_stdout in [false, true] {
        let mut raw = Raw::spawn("");
        raw.initialize().await;
        let arguments = json!({"heeds_stdin": true, "holds_stdout": holds_stdout});
        raw.begin_call(1, "spawn_grandchild", arguments).await;
        raw.line().await.unwrap();
        let server = raw.child.id().unwrap();
        let grandchildren = process::descendants(server);
        assert_eq!(grandchildren.len(), 1);
        raw.begin_call(2, "stats", json!({})).await;
        assert!(
            raw.line().await.is_some(),
            "the grandchild must not eat what is for its parent"
        );

        signal(server, Signal::KILL).unwrap();
        raw.child.wait().await.unwrap();
        assert!(alive(grandchildren[0]));
        if !holds_stdout {
            assert_eq!(raw.line().await, None);
        }
        raw.close_stdin();
        assert!(wait_gone(grandchildren, SOON).await);
        assert_eq!(raw.line().await, None);
    }
}

#[tokio::test]
async fn a_grandchild_that_ignores_stdin_has_to_be_killed() {
    let pair = open("--marker ignoring-grandchild").await;
    let grandchild: u32 = pair
        .ask("spawn_grandchild", json!({}))
        .await
        .parse()
        .unwrap();
    let mut marked = process::by_marker("ignoring-grandchild");
    marked.sort_unstable();
    let mut both = vec![pair.pid, grandchild];
    both.sort_unstable();
    assert_eq!(marked, both);

    pair.client.cancel().await.unwrap();
    assert!(wait_gone([pair.pid], SOON).await);
    assert!(alive(grandchild));
    signal(grandchild, Signal::KILL).unwrap();
    assert!(wait_gone([grandchild], SOON).await);
}

/// How many bytes wait in the pipe behind the stdin of a process.
fn unread_stdin(pid: u32) -> u64 {
    let pipe = std::fs::File::open(format!("/proc/{pid}/fd/0")).unwrap();
    rustix::io::ioctl_fionread(pipe).unwrap()
}
