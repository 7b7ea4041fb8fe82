//! Errors of server processes that do not start.

use crate::common;
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
use mcp_testkit::Lateness;
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
    let (machine, began) = (Lateness::watch(), Instant::now());
    let error = failure(broken, quiet()).await;
    machine.assert_within(Duration::from_secs(2), began.elapsed());
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
    let (machine, began) = (Lateness::watch(), Instant::now());
    let error = within(pool.acquire()).await.unwrap_err();
    assert!(
        error.to_string().contains("400ms") || format!("{error:?}").contains("400ms"),
        "{error:?}"
    );
    machine.assert_within(Duration::from_secs(1), began.elapsed());
    // The opening goes on for the next caller, up to four times as long in all.
    common::servers::assert_all_gone(&marker, Duration::from_secs(3)).await;
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
    // The first try starts it twice: it might have exited on `server/discover`.
    let flaky = server("--exit-first 3").args(["--state-file", state.to_str().unwrap()]);
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

/// A server of the legacy era, which exits when it is asked for another.
const STRICT: &str = r#"
while read -r line; do
  id=${line#*\"id\":}; id=${id%%[,\}]*}
  case $line in
    *server/discover*) echo "expect initialize request" >&2; exit 1 ;;
    *'"initialize"'*) echo '{"jsonrpc":"2.0","id":'$id',"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}' ;;
  esac
done
"#;

#[tokio::test]
async fn a_process_that_exits_on_discover_is_started_again_with_initialize() {
    let (pool, events) = observed(shell(STRICT), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    assert_eq!(lease.era(), mcp_pool_core::Era::Legacy);
    assert_eq!(events.count(attempt_failed), 0);
    drop(lease);
    within(pool.close()).await;
}

#[tokio::test]
async fn a_process_whose_handshake_is_invalid_is_not_said_to_have_exited() {
    let invalid = STRICT.replace("serverInfo", "server");
    let error = failure(shell(&invalid), quiet()).await;
    let text = error.to_string();
    assert_eq!(error.kind(), OpenErrorKind::Incompatible, "{text}");
    assert!(
        text.contains("`serverInfo`") && !text.contains("exit status: 0"),
        "{text}"
    );
}

#[tokio::test]
async fn a_wrapper_that_exits_after_its_server_is_quoted() {
    let wrapper = "exec >&-; sleep 0.4; \
         echo 'npm error code E404' >&2; echo 'npm error 404 Not Found - GET /foo' >&2; \
         echo 'npm error A complete log of this run can be found in: /x.log' >&2; exit 1";
    let error = failure(shell(wrapper), quiet()).await;
    let text = error.to_string();
    assert_eq!(error.kind(), OpenErrorKind::ProcessExited, "{text}");
    assert!(
        text.contains("exit status: 1; stderr: 404 Not Found - GET /foo"),
        "{text}"
    );
    assert_eq!(error.stderr().len(), 3);
}

#[tokio::test]
async fn a_process_that_exits_late_in_an_opening_is_quoted() {
    // The second process is still waiting when the time is over.
    let late = "read -r line; sleep 1; echo 'the port is taken' >&2; exit 3";
    let options = quiet_with(|options| options.connection_timeout = Duration::from_millis(1_800));
    let pool = pool_of(shell(late), options);
    let error = within(pool.acquire()).await.unwrap_err();
    assert!(
        format!("{error:?}").contains("the port is taken"),
        "{error:?}"
    );
    within(pool.close()).await;
}

#[tokio::test]
async fn arguments_in_the_command_are_noticed() {
    let error = failure(Stdio::new("npx -y some-server"), options(|_| {})).await;
    assert_eq!(error.kind(), OpenErrorKind::CommandNotFound);
    let text = error.to_string();
    assert!(
        text.contains("`command` is the program alone")
            && text.contains(r#"["-y", "some-server"]"#),
        "{text}"
    );
}
