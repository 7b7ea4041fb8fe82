//! Files, variables and programs as sources of secrets.

use crate::common;
use std::{error::Error as _, sync::Arc, time::Duration};

use common::{observed, quiet_with, within};
use mcp_pool_core::{
    AcquireError, OpenErrorKind,
    connect::http::Http,
    source::{Asked, Command, Env, File, Prefixed, SourceError, ValueSource},
};

async fn ask(source: impl ValueSource) -> Result<String, SourceError> {
    within(source.value(Asked::Open)).await
}

async fn failure_of(source: impl ValueSource) -> String {
    ask(source).await.unwrap_err().to_string()
}

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script])
}

#[tokio::test]
async fn a_file_is_read_anew_each_time_without_the_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let source = File::new(&path);
    let missing = failure_of(source.clone()).await;
    assert!(missing.contains(path.to_str().unwrap()), "{missing}");
    for (written, read) in [("one\n", "one"), ("two", "two"), (" three \r\n", " three ")] {
        std::fs::write(&path, written).unwrap();
        assert_eq!(ask(source.clone()).await.unwrap(), read);
    }
    std::fs::write(&path, "\n").unwrap();
    assert!(failure_of(source.clone()).await.ends_with("is empty"));
    std::fs::write(&path, "s3cret".repeat(20_000)).unwrap();
    let long = failure_of(source.clone()).await;
    assert!(
        long.contains("too long") && !long.contains("s3cret"),
        "{long}"
    );
    std::fs::write(&path, b"s3cret\xff").unwrap();
    let binary = ask(source).await.unwrap_err();
    assert!(
        !format!("{binary} {binary:?}").contains("s3cret"),
        "{binary:?}"
    );
}

#[tokio::test]
async fn a_variable_is_read_from_this_process() {
    // Set by cargo for every test.
    let source = Prefixed::new("Bearer ", Env::new("CARGO_PKG_NAME"));
    assert_eq!(ask(source).await.unwrap(), "Bearer mcp-pool-core");
    let missing = failure_of(Env::new("NO_SUCH_VARIABLE_HERE")).await;
    assert_eq!(missing, "variable `NO_SUCH_VARIABLE_HERE` is not set");
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_is_run_each_time_with_a_small_environment_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let counter = folder.path().join("counter");
    let source = shell("echo x >> \"$COUNTER\"; echo; wc -l < \"$COUNTER\"; echo")
        .env("COUNTER", counter.to_str().unwrap());
    for run in 1..=3 {
        assert_eq!(ask(source.clone()).await.unwrap(), run.to_string());
    }
    let inherited = shell("echo \"[$CARGO_PKG_NAME]${HOME:+home}${PATH:+path}\"; cat");
    assert_eq!(ask(inherited).await.unwrap(), "[]homepath");
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_that_fails_is_told_with_its_last_words_and_without_secrets() {
    let traced = shell("echo s3cret-token; echo \"+ echo s3cret-token $KEY\" >&2; exit 3")
        .env("KEY", "another-secret");
    let error = ask(traced).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("command `sh` failed: exit status: 3"),
        "{shown}"
    );
    assert!(shown.contains("+ echo *** ***"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");

    assert_eq!(
        failure_of(shell("true")).await,
        "command `sh` wrote nothing to stdout"
    );
    let flood = failure_of(shell("while :; do echo s3cret-token; done")).await;
    assert!(flood.contains("too long"), "{flood}");
    let missing = ask(Command::new("no-such-command-anywhere"))
        .await
        .unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("command not found: `no-such-command-anywhere`"),
        "{missing}"
    );
    assert!(missing.source().is_some());
    let shown = format!("{:?}", shell("s3cret").env("KEY", "s3cret"));
    assert!(
        shown.contains("KEY") && !shown.contains("s3cret"),
        "{shown}"
    );
}

/// It delayed no task, and left nothing behind.
#[cfg(target_os = "linux")]
async fn assert_over(began: tokio::time::Instant, marker: &str) {
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    common::servers::assert_all_gone(marker, Duration::from_secs(2)).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_command_that_hangs_is_killed_with_all_it_started() {
    let marker = common::servers::marker();
    let script = format!("trap '' TERM; sleep 300 & sh -c 'sleep 300; : {marker}'; : {marker}");
    let limit = Duration::from_millis(200);
    let began = tokio::time::Instant::now();
    let error = failure_of(shell(&script).time_limit(limit)).await;
    assert_eq!(
        error,
        "command `sh` gave no answer within 200ms and was killed"
    );
    assert_over(began, &marker).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_command_that_leaves_something_behind_is_not_waited_for() {
    let marker = common::servers::marker();
    let script = format!("sh -c 'sleep 300; : {marker}' & echo token");
    let began = tokio::time::Instant::now();
    assert_eq!(ask(shell(&script)).await.unwrap(), "token");
    assert_over(began, &marker).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_pool_that_gives_up_an_opening_kills_the_command_it_waited_for() {
    let marker = common::servers::marker();
    let source = shell(&format!("sleep 300; : {marker}"));
    let connector = Http::new("http://127.0.0.1:9/mcp")
        .unwrap()
        .header_from("Authorization", Arc::new(source))
        .unwrap();
    let options = quiet_with(|options| options.connection_timeout = Duration::from_millis(300));
    let (pool, _) = observed(connector, options);
    assert!(within(pool.acquire()).await.is_err());
    common::servers::assert_all_gone(&marker, Duration::from_secs(2)).await;
    within(pool.close()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_error_of_an_opening_names_header_and_command_and_has_its_last_words() {
    let source = shell("echo 'you are not signed in' >&2; exit 1");
    let connector = Http::new("http://127.0.0.1:9/mcp")
        .unwrap()
        .header_from("X-Api-Key", Arc::new(source))
        .unwrap();
    let (pool, _) = observed(connector, quiet_with(|options| options.retry_attempts = 0));
    let AcquireError::Open { cause, .. } = within(pool.acquire()).await.unwrap_err() else {
        panic!("not a failed opening");
    };
    assert_eq!(cause.kind(), OpenErrorKind::Credentials);
    assert_eq!(
        cause.to_string(),
        "no value for header `x-api-key`: command `sh` failed: exit status: 1; stderr: you are not signed in"
    );
    within(pool.close()).await;
}

#[cfg(unix)]
#[test]
fn a_token_file_that_is_a_pipe_is_refused_and_holds_no_runtime_up() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("token");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let source = File::new(&pipe);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for _ in 0..3 {
        let error = runtime.block_on(ask(source.clone())).unwrap_err();
        let expected = format!(
            "file `{}` cannot be read: it is not a regular file",
            pipe.display()
        );
        assert_eq!(error.to_string(), expected);
        assert!(error.source().is_none(), "the message says it already");
    }
    // Ends only if none of its blocking threads hangs.
    drop(runtime);
}
