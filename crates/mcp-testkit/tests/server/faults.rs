//! The faults of the command line, each on a process of its own.

use std::{process::Stdio, time::Duration};

use mcp_testkit::process::{Signal, alive, signal, wait_gone};
use rmcp::{service::ClientServiceExt, transport::TokioChildProcess};

use serde_json::json;
use tokio::{io::AsyncReadExt, time::Instant};

use crate::support::{
    A_WHILE, Raw, SOON, auto, command, discover, initialize, open, open_as, spawn, text,
};

#[tokio::test]
async fn exit_after_calls_answers_the_last_call_before_it_exits() {
    for lifecycle in [initialize(), discover()] {
        let pair = open_as("--exit-after-calls 2", lifecycle).await.unwrap();
        assert_eq!(pair.ask("count", json!({})).await, "1");
        assert_eq!(pair.ask("count", json!({})).await, "2");
        assert!(pair.is_gone().await);
    }
}

#[tokio::test]
async fn exit_mid_call_exits_at_that_tool_and_no_other() {
    let pair = open("--exit-mid-call count").await;
    assert!(pair.answers().await);
    assert!(pair.call("count", json!({})).await.is_err());
    assert!(pair.is_gone().await);
}

#[tokio::test]
async fn exit_at_once_leaves_a_code_and_a_message() {
    let mut command = command("--exit 7");
    command.args(["--stderr", "cannot find the database"]);
    let output = command.output().await.unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stderr, b"cannot find the database\n");
    assert_eq!(output.stdout, b"");
}

#[tokio::test]
async fn a_server_that_hangs_before_the_handshake_never_opens() {
    let (child, pid) = spawn("--hang-before-handshake");
    let opening = ().serve_with_lifecycle(child, initialize());
    assert!(tokio::time::timeout(A_WHILE, opening).await.is_err());
    assert!(alive(pid) || wait_gone([pid], SOON).await);
}

#[tokio::test]
async fn a_server_that_hangs_after_the_handshake_reads_but_does_not_answer() {
    for lifecycle in [initialize(), discover()] {
        let pair = open_as("--hang-after-handshake", lifecycle).await.unwrap();
        assert!(pair.is_silent().await);
        // It reads: a megabyte goes in, and the end of stdin is noticed.
        let message = "x".repeat(1 << 20);
        let swallowed = pair.call("echo", json!({"message": message}));
        assert!(tokio::time::timeout(A_WHILE, swallowed).await.is_err());
        pair.client.cancel().await.unwrap();
        assert!(wait_gone([pair.pid], Duration::from_secs(2)).await);
    }
}

#[tokio::test]
async fn freeze_stdin_stops_reading_after_the_handshake() {
    for lifecycle in [initialize(), discover()] {
        let pair = open_as("--freeze-stdin", lifecycle).await.unwrap();
        assert!(pair.is_silent().await);
        let message = "x".repeat(1 << 20);
        let stuck = pair.call("echo", json!({"message": message}));
        assert!(tokio::time::timeout(A_WHILE, stuck).await.is_err());
        assert!(alive(pair.pid));
        signal(pair.pid, Signal::KILL).unwrap();
    }
}

#[tokio::test]
async fn close_stdout_after_answers_so_many_calls_and_lives_on() {
    let mut raw = Raw::spawn("--close-stdout-after 1");
    raw.initialize().await;
    raw.begin_call(1, "count", json!({})).await;
    assert!(raw.line().await.unwrap().contains("\"1\""));
    raw.begin_call(2, "count", json!({})).await;
    assert_eq!(raw.line().await, None);
    assert!(raw.alive());
}

#[tokio::test]
async fn garbage_on_stdout_does_not_keep_a_client_from_working() {
    for lifecycle in [initialize(), discover()] {
        let pair = open_as("--garbage", lifecycle).await.unwrap();
        for _ in 0..3 {
            assert!(pair.answers().await);
        }
    }
    let mut child = command("--garbage")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut banner = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut banner)
        .await
        .unwrap();
    assert!(banner.starts_with("[INFO] starting\n\n"), "{banner:?}");
}

#[tokio::test]
async fn flood_stderr_holds_up_the_handshake_until_somebody_drains_it() {
    let (child, stderr) = TokioChildProcess::builder(command("--flood-stderr 300000"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let opening = ().serve_with_lifecycle(child, auto());
    tokio::pin!(opening);
    assert!(tokio::time::timeout(A_WHILE, &mut opening).await.is_err());
    let mut stderr = stderr.unwrap();
    let mut drained = vec![0; 300_000];
    let (opened, read) = tokio::join!(opening, stderr.read_exact(&mut drained));
    assert!(opened.is_ok() && read.is_ok());
}

#[tokio::test]
async fn a_slow_start_reads_nothing_for_its_time() {
    let begun = Instant::now();
    let pair = open("--slow-start 120").await;
    assert!(begun.elapsed() >= Duration::from_millis(120));
    assert!(pair.answers().await);
}

#[tokio::test]
async fn a_single_threaded_server_does_one_thing_after_the_other() {
    let pair = open("--single-threaded").await;
    let begun = Instant::now();
    let (first, second) = tokio::join!(
        pair.ask("sleep", json!({"ms": 60})),
        pair.ask("sleep", json!({"ms": 60})),
    );
    assert_eq!(first, second);
    assert!(begun.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn a_server_that_forbids_overlap_answers_the_second_call_with_an_error() {
    let pair = open("--forbid-overlap").await;
    let (first, second) = tokio::join!(
        pair.call("sleep", json!({"ms": 100})),
        pair.call("sleep", json!({"ms": 100})),
    );
    let errors: Vec<_> = [first.unwrap(), second.unwrap()]
        .iter()
        .filter(|result| result.is_error == Some(true))
        .map(text)
        .collect();
    assert_eq!(errors, ["another call is running on this server"]);
    assert!(
        pair.answers().await,
        "one call after the other is no overlap"
    );
}
