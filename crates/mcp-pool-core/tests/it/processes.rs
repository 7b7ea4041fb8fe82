//! No process is left behind, however a pool ends, and none is taken away while its pool lives.

use crate::common;
use std::{
    future::Future,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{
    SOON, assert_balanced, call, echo, options, pool_of, quiet, quiet_with,
    servers::{assert_all_gone, marker, path, server, shell},
    text, within,
};
use mcp_pool_core::{Connector, SessionPool};
use mcp_testkit::{Lateness, process};
use serde_json::json;
use tokio::task::JoinSet;

/// What a close may take at most: the end of stdin, SIGTERM, and the wait after SIGKILL.
const CLOSE: Duration = Duration::from_secs(6);

async fn used(connector: impl Connector) -> SessionPool {
    let pool = pool_of(connector, quiet());
    assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
    pool
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_leaves_no_process_whatever_the_server_does() {
    let wrapper = |marker: &str| {
        let path = path();
        shell(&format!(
            "'{path}' --max-lifetime 60 --marker {marker}; exit 0"
        ))
    };
    let flags = [
        "",
        "--ignore-sigterm",
        "--ignore-eof",
        "--ignore-eof --ignore-sigterm",
        "--grandchild heeds",
        "--grandchild ignores",
        "--grandchild ignores --ignore-eof --ignore-sigterm",
        "--freeze-stdin --ignore-eof",
    ];
    let mut cases = JoinSet::new();
    for flags in flags {
        cases.spawn(async move {
            let marker = marker();
            let pool = pool_of(server(flags).args(["--marker", &marker]), quiet());
            drop(within(pool.acquire()).await.unwrap());
            assert_closed(pool, &marker, flags).await;
        });
    }
    cases.spawn(async move {
        let marker = marker();
        let pool = used(wrapper(&marker)).await;
        assert_closed(pool, &marker, "wrapper").await;
    });
    cases.spawn(async move {
        let marker = marker();
        let pool = used(server("").args(["--marker", &marker])).await;
        let lease = within(pool.acquire()).await.unwrap();
        let pid = lease.pid().unwrap();
        let stopping = call(&lease, "freeze", json!({"how": "stop"}));
        let stopped = process::wait_until(Duration::from_secs(5), || process::stopped(pid));
        tokio::select! {
            _ = stopping => panic!("a stopped server does not answer"),
            stopped = stopped => assert!(stopped),
        }
        drop(lease);
        assert_closed(pool, &marker, "stopped").await;
    });
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

async fn assert_closed(pool: SessionPool, marker: &str, case: &str) {
    assert!(!process::by_marker(marker).is_empty(), "{case}: it runs");
    let (machine, began) = (Lateness::watch(), Instant::now());
    pool.close().await;
    machine.assert_within(CLOSE, began.elapsed());
    let left = process::by_marker(marker);
    assert!(left.is_empty(), "{case}: left behind: {left:?}");
    assert_eq!(assert_balanced(&pool).connections.total, 0, "{case}");
}

/// The processes with the marker that have left the server's process group.
fn detached(marker: &str, server: u32) -> Vec<u32> {
    let found = process::by_marker(marker).into_iter();
    found
        .filter(|pid| process::group_of(*pid).is_some_and(|group| group != server))
        .collect()
}

/// The server, and behind it a process in a session of its own, which no signal to a group reaches.
async fn with_detached(flags: &str, marker: &str) -> SessionPool {
    let flags = format!("--grandchild detached {flags}");
    let pool = used(server(&flags).args(["--marker", marker])).await;
    let server = within(pool.acquire()).await.unwrap().pid().unwrap();
    let left = process::wait_until(SOON, || !detached(marker, server).is_empty()).await;
    assert!(left, "nothing has left the group: this test tests nothing");
    pool
}

#[tokio::test]
async fn close_ends_what_has_left_the_process_group() {
    for flags in ["", "--ignore-eof --ignore-sigterm"] {
        let marker = marker();
        let pool = with_detached(flags, &marker).await;
        assert_closed(pool, &marker, flags).await;
    }
}

#[tokio::test]
async fn close_ends_what_has_left_the_group_of_a_wrapper() {
    let marker = marker();
    let path = path();
    let script =
        format!("'{path}' --max-lifetime 60 --marker {marker} --grandchild detached; exit 0");
    let pool = used(shell(&script)).await;
    let wrapper = within(pool.acquire()).await.unwrap().pid().unwrap();
    let left = process::wait_until(SOON, || !detached(&marker, wrapper).is_empty()).await;
    assert!(left, "nothing has left the group: this test tests nothing");
    assert_closed(pool, &marker, "wrapper").await;
}

/// Ends the runtime on which a pool is in use, and asserts that its processes end.
fn assert_gone_with_runtime(marker: &str, pool: impl Future<Output = SessionPool>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pool = runtime.block_on(pool);
    runtime.shutdown_background();
    drop(pool);
    let after = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    after.block_on(assert_all_gone(marker, Duration::from_secs(2)));
}

#[test]
fn the_end_of_the_runtime_ends_what_has_left_the_process_group() {
    let marker = marker();
    assert_gone_with_runtime(&marker, with_detached("--ignore-eof", &marker));
}

#[tokio::test]
async fn a_server_that_outlives_the_end_of_its_stdin_is_asked_to_end_before_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let noted = folder.path().join("asked");
    let script = format!(
        "trap 'echo TERM > {}; kill $server; exit 0' TERM; exec 3<&0; {} --ignore-eof --max-lifetime 60 <&3 & server=$!; wait",
        noted.display(),
        path(),
    );
    let pool = used(shell(&script)).await;
    within(pool.close()).await;
    assert_eq!(std::fs::read_to_string(&noted).unwrap().trim(), "TERM");
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test]
async fn an_ordinary_server_is_closed_in_a_moment() {
    let pool = used(server("")).await;
    let (machine, began) = (Lateness::watch(), Instant::now());
    pool.close().await;
    machine.assert_within(Duration::from_secs(1), began.elapsed());
}

#[tokio::test]
async fn close_waits_for_calls_in_flight_but_not_for_ever() {
    let pool = pool_of(
        server(""),
        quiet_with(|options| options.shutdown_grace = Duration::from_millis(600)),
    );
    let (short, long) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let short = tokio::spawn(async move { call(&short, "sleep", json!({"ms": 200})).await });
    let long = tokio::spawn(async move { call(&long, "sleep", json!({"ms": 60_000})).await });
    let (machine, began) = (Lateness::watch(), Instant::now());
    tokio::time::sleep(Duration::from_millis(50)).await;
    pool.close().await;
    machine.assert_within(Duration::from_secs(3), began.elapsed());
    assert_eq!(text(&short.await.unwrap().unwrap()), "slept 200 ms");
    assert!(within(long).await.unwrap().is_err());
    assert_balanced(&pool);
}

#[tokio::test]
async fn the_drop_of_the_last_handle_ends_all_processes() {
    let marker = marker();
    let pool = used(server("--grandchild ignores").args(["--marker", &marker])).await;
    let other = pool.clone();
    drop(pool);
    assert_eq!(echo(&within(other.acquire()).await.unwrap()).await, "hello");
    drop(other);
    assert_all_gone(&marker, CLOSE).await;
}

#[tokio::test]
async fn a_lease_outlives_the_last_handle_for_the_grace_period() {
    let marker = marker();
    let pool = used(server("").args(["--marker", &marker])).await;
    let lease = within(pool.acquire()).await.unwrap();
    drop(pool);
    assert_eq!(echo(&lease).await, "hello");
    drop(lease);
    assert_all_gone(&marker, CLOSE).await;
}

#[tokio::test]
async fn a_caller_that_panics_with_the_pool_in_its_hands_leaves_no_process() {
    let marker = marker();
    let pool = used(server("--grandchild ignores").args(["--marker", &marker])).await;
    let panicking = tokio::spawn(async move {
        let _lease = pool.acquire().await.unwrap();
        panic!("as the test wants it");
    });
    assert!(panicking.await.unwrap_err().is_panic());
    assert_all_gone(&marker, CLOSE).await;
}

#[test]
fn the_end_of_the_runtime_ends_all_processes() {
    let marker = marker();
    let connector = server("--grandchild ignores --ignore-eof").args(["--marker", &marker]);
    assert_gone_with_runtime(&marker, used(connector));
}

#[tokio::test]
async fn an_opening_that_is_under_way_when_the_pool_closes_leaves_no_process() {
    let marker = marker();
    for moment in [0, 1, 2, 5, 10, 20, 40] {
        let pool = pool_of(server("").args(["--marker", &marker]), quiet());
        let caller = {
            let pool = pool.clone();
            tokio::spawn(async move { drop(pool.acquire().await) })
        };
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let (machine, began) = (Lateness::watch(), Instant::now());
        pool.close().await;
        machine.assert_within(Duration::from_secs(1), began.elapsed());
        let left = process::by_marker(&marker);
        assert!(left.is_empty(), "left behind: {left:?}");
        caller.await.unwrap();
        assert_eq!(assert_balanced(&pool).connections.total, 0);
    }
}

const CLIENT_MARKER: &str = "POOL_TEST_CLIENT_MARKER";

/// Not a test: the client that the next one kills.
#[test]
#[ignore = "run by the test below"]
fn a_client_to_be_killed() {
    let marker = std::env::var(CLIENT_MARKER).expect("run by the test below");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let path = path();
        let wrapped = format!("'{path}' --max-lifetime 60 --marker {marker}; exit 0");
        let mut pools = vec![used(shell(&wrapped)).await];
        for flags in [
            "",
            "--ignore-eof",
            "--ignore-eof --ignore-sigterm",
            "--grandchild heeds",
        ] {
            pools.push(used(server(flags).args(["--marker", &marker])).await);
        }
        println!("ready");
        std::future::pending::<()>().await;
    });
}

#[tokio::test]
async fn a_client_that_is_killed_takes_its_servers_with_it() {
    let marker = marker();
    let mut client = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "processes::a_client_to_be_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(CLIENT_MARKER, &marker)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = client.stdout.take().unwrap();
    let ready = tokio::task::spawn_blocking(move || {
        BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains("ready"))
    });
    assert!(within(ready).await.unwrap(), "the client has not come up");
    let servers: Vec<_> = process::by_marker(&marker)
        .into_iter()
        .filter(|pid| *pid != client.id())
        .collect();
    assert!(servers.len() >= 6, "{servers:?}");
    // SIGKILL: no destructor runs.
    client.kill().unwrap();
    client.wait().unwrap();
    assert_all_gone(&marker, Duration::from_secs(5)).await;
}

#[test]
fn pain_10_servers_outlive_the_thread_that_asked_for_them() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(Duration::from_millis(20))
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let asking = tokio::spawn(async {
            let pool = used(server("")).await;
            let thread = rustix::thread::gettid();
            // Another thread takes over as the worker; this one ends when it has been idle for a moment.
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(100)));
            (pool, thread)
        });
        let (pool, thread) = within(asking).await.unwrap();
        let task = format!("/proc/self/task/{}", thread.as_raw_nonzero());
        let ended = process::wait_until(Duration::from_secs(5), || {
            !std::path::Path::new(&task).exists()
        });
        assert!(ended.await, "the thread lives on: this test tests nothing");
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(echo(&lease).await, "hello");
        drop(lease);
        assert_eq!(pool.status().opened, 1);
        pool.close().await;
    });
}

#[tokio::test]
async fn a_server_is_given_the_safe_variables_and_those_of_its_configuration() {
    let names = ["PATH", "HOME", "CARGO_MANIFEST_DIR", "TOKEN_OF_THE_SERVER"];
    let environment = async |connector| {
        let pool = pool_of(connector, quiet());
        let lease = within(pool.acquire()).await.unwrap();
        let who = within(call(&lease, "whoami", json!({"env": names})))
            .await
            .unwrap();
        drop(lease);
        within(pool.close()).await;
        who.structured_content.unwrap()["env"].clone()
    };
    // Set by cargo for every test, and not for servers.
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok());
    let found = environment(server("").env("TOKEN_OF_THE_SERVER", "secret")).await;
    assert_eq!(found["PATH"], json!(std::env::var("PATH").unwrap()));
    assert_eq!(found["TOKEN_OF_THE_SERVER"], "secret");
    assert_eq!(found["CARGO_MANIFEST_DIR"], json!(null));
    let found = environment(server("").inherit_env(true)).await;
    assert_eq!(
        found["CARGO_MANIFEST_DIR"],
        json!(std::env::var("CARGO_MANIFEST_DIR").unwrap())
    );
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let connector = server("")
        .env("TOKEN_OF_THE_SERVER", "s3cret")
        .args(["--marker", "s3cret"]);
    let shown = format!("{connector:?}");
    assert!(
        shown.contains("TOKEN_OF_THE_SERVER") && !shown.contains("s3cret"),
        "{shown}"
    );
    let pool = pool_of(connector, options(|_| {}));
    assert!(!format!("{pool:?}").contains("s3cret"));
}
