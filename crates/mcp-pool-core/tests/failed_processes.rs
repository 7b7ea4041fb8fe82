//! What is said when a server's process does not come about.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use common::{
    assert_balanced, attempt_failed, echo, observed, options, pool_of, quiet, quiet_with,
    servers::{server, shell},
    within,
};
use mcp_pool_core::{
    AcquireError, Connector, OpenError, OpenErrorKind, PoolOptions, connect::stdio::Stdio,
};
use std::sync::Arc;

async fn failure(connector: impl Connector, options: PoolOptions) -> Arc<OpenError> {
    let pool = pool_of(connector, options);
    let error = within(pool.acquire()).await.unwrap_err();
    assert_eq!(assert_balanced(&pool).connections.total, 0);
    within(pool.close()).await;
    match error {
        AcquireError::Open { cause, .. } => cause,
        other => panic!("not a failed opening: {other:?}"),
    }
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named() {
    let error = failure(Stdio::new("no-such-command-of-mcp"), options(|_| {})).await;
    assert_eq!(error.kind(), OpenErrorKind::CommandNotFound);
    assert!(
        error.to_string().contains("`no-such-command-of-mcp`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_may_not_be_executed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server");
    std::fs::write(&file, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let error = failure(Stdio::new(file.to_str().unwrap()), options(|_| {})).await;
    assert_eq!(error.kind(), OpenErrorKind::NotExecutable);
    assert!(error.to_string().contains("permissions"), "{error}");
}

#[tokio::test]
async fn a_directory_that_does_not_exist_is_not_taken_for_a_missing_command() {
    let error = failure(shell("exit").current_dir("/no/such/place"), options(|_| {})).await;
    assert_eq!(error.kind(), OpenErrorKind::Config);
    assert!(error.to_string().contains("/no/such/place"), "{error}");
}

#[tokio::test]
async fn a_process_that_exits_is_quoted_with_its_code_and_its_last_words() {
    let broken = server("--exit 3").args(["--stderr", "the API key is missing"]);
    let began = Instant::now();
    let error = failure(broken, quiet()).await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(error.kind(), OpenErrorKind::ProcessExited);
    let text = error.to_string();
    assert!(
        text.contains("exit status: 3") && text.contains("the API key is missing"),
        "{text}"
    );
    assert_eq!(error.stderr(), ["the API key is missing"]);
}

#[tokio::test]
async fn a_process_that_exits_is_tried_again() {
    let (pool, events) = observed(
        shell("exit 1"),
        quiet_with(|options| {
            options.retry_attempts = 2;
            options.retry_delay = Duration::from_millis(10);
        }),
    );
    assert!(within(pool.acquire()).await.is_err());
    assert_eq!(events.count(attempt_failed), 3);
}

#[tokio::test]
async fn a_process_that_hangs_in_the_handshake_is_given_up_and_ended() {
    let marker = common::servers::marker();
    let silent = server("--hang-before-handshake --stderr waiting").args(["--marker", &marker]);
    let pool = pool_of(
        silent,
        quiet_with(|options| options.connection_timeout = Duration::from_millis(400)),
    );
    let began = Instant::now();
    let error = within(pool.acquire()).await.unwrap_err();
    assert!(
        error.to_string().contains("400ms") || format!("{error:?}").contains("400ms"),
        "{error:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    common::servers::assert_all_gone(&marker, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_program_that_is_no_server_is_found_out() {
    let error = failure(shell("echo hello; exit 0"), quiet()).await;
    assert_eq!(error.kind(), OpenErrorKind::ProcessExited);
    let text = error.to_string();
    assert!(
        text.contains("exit status: 0; is it a server"),
        "what to look at: {text}"
    );
}

#[tokio::test]
async fn the_pool_recovers_by_itself_when_the_server_does() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("openings");
    let flaky = server("--exit-first 2").args(["--state-file", state.to_str().unwrap()]);
    let (pool, events) = observed(
        flaky,
        quiet_with(|options| {
            options.retry_attempts = 3;
            options.retry_delay = Duration::from_millis(20);
        }),
    );
    let lease = within(pool.acquire()).await.unwrap();
    assert_eq!(echo(&lease).await, "hello");
    drop(lease);
    assert_eq!(events.count(attempt_failed), 2);
    assert_balanced(&pool);
    within(pool.close()).await;
}

#[tokio::test]
async fn a_command_that_appears_later_is_found_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("server");
    let pool = pool_of(
        Stdio::new(link.to_str().unwrap()).args(["--max-lifetime", "60"]),
        quiet(),
    );
    assert!(within(pool.acquire()).await.is_err());
    std::os::unix::fs::symlink(mcp_testkit::binary(), &link).unwrap();
    let again = pool.status().retry_after.unwrap_or_default();
    tokio::time::sleep(again + Duration::from_millis(20)).await;
    assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
    within(pool.close()).await;
}
