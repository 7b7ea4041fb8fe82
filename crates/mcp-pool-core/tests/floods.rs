//! A server that sends unsolicited messages costs a bounded amount of memory, and no call of another server: on stdio and over
//! HTTP, in the handshake, in a call and between calls.
//!
//! In a program of their own, because memory is that of the process.

#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "it/common/mod.rs"]
mod common;

use std::{sync::Arc, time::Duration};

use common::{
    call, closed, echo, observed, pool_of, quiet, quiet_with,
    servers::{path, server, shell},
    within,
};
use futures::future::join_all;
use mcp_pool_core::{
    AcquireError, ProgressSink, SessionPool,
    connect::http::Http,
    rmcp::model::{
        CallToolRequest, CallToolRequestParams, ClientRequest, ProgressNotificationParam,
    },
};
use mcp_testkit::{
    memory::MemoryWatch,
    scripted_http::{Answer, Asked, ScriptedHttp},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    runtime::Runtime,
    time::{Instant, sleep, timeout},
};

const MIB: usize = 1024 * 1024;

/// 64 MiB, and four times the largest message for each session.
const fn allowed(sessions: usize) -> usize {
    64 * MIB + sessions * 4 * 16 * MIB
}

/// Memory is that of the process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs all of `hostile`, a session each, while a neighbour is called, and holds the memory that they take against what is
/// allowed.
async fn beside<T>(
    name: &str,
    neighbours: &SessionPool,
    hostile: impl IntoIterator<Item: Future<Output = T>>,
) -> Vec<T> {
    let hostile: Vec<_> = hostile.into_iter().collect();
    let allowed = allowed(hostile.len());
    let watch = MemoryWatch::begin();
    let neighbour = within(neighbours.acquire()).await.unwrap();
    let (mut slowest, mut calls) = (Duration::ZERO, 0);
    let calling = async {
        loop {
            let called = Instant::now();
            assert_eq!(echo(&neighbour).await, "hello");
            slowest = slowest.max(called.elapsed());
            calls += 1;
            sleep(Duration::from_millis(1)).await;
        }
    };
    let outcomes = tokio::select! {
        outcomes = join_all(hostile) => outcomes,
        () = calling => unreachable!("it never ends"),
    };
    let grown = watch.grown();
    println!(
        "{name}: {} MiB, {calls} calls of a neighbour, the slowest {slowest:?}",
        grown / MIB
    );
    assert!(grown < allowed, "{name}: {} MiB", grown / MIB);
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_costs_bounded_memory_and_neither_its_own_calls_nor_those_of_others() {
    let _alone = ALONE.lock().await;
    let neighbours = pool_of(server(""), quiet());
    for floods in [
        ["pings", "roots", "logs"].as_slice(),
        &["progress", "large", "noise"],
        &["heavy"],
    ] {
        let flooded = floods.iter().map(async |flood| {
            let pool = pool_of(server(&format!("--flood {flood}")), quiet());
            let own = within(pool.acquire()).await.unwrap();
            assert_eq!(echo(&own).await, "hello");
            sleep(Duration::from_secs(3)).await;
            assert!(!own.has_ended(), "{flood}: {}", own.cause_of_end().await);
            assert_eq!(echo(&own).await, "hello");
            drop(own);
            within(pool.close()).await;
        });
        beside(&floods.join(", "), &neighbours, flooded).await;
    }
    within(neighbours.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_on_stderr_is_read_at_a_bounded_rate() {
    let _alone = ALONE.lock().await;
    let neighbours = pool_of(server(""), quiet());
    let pool = pool_of(server(""), quiet());
    let own = within(pool.acquire()).await.unwrap();
    let began = Instant::now();
    let flood = call(&own, "flood_stderr", json!({"bytes": 1_000_000_000}));
    let flood = timeout(Duration::from_secs(3), flood);
    let ended = beside("stderr", &neighbours, [flood]).await;
    assert!(ended[0].is_err(), "{ended:?}");
    assert_eq!(echo(&own).await, "hello");
    let written = written_by(own.pid().unwrap());
    // Lines of 100 bytes: 2 s of them at once, and what fits into the pipe.
    let allowed = 1_100_000.0 * (began.elapsed().as_secs_f64() + 2.0) + 1e5;
    println!("stderr: {written} bytes of at most {allowed:.0}");
    assert!((written as f64) < allowed, "{written} bytes");
    assert_eq!(own.stderr_tail().len(), 50);
    drop(own);
    within(pool.close()).await;
    within(neighbours.close()).await;
}

/// Bytes that a process has written.
fn written_by(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    written.unwrap().parse().unwrap()
}

/// Messages that no request has asked for, one line each.
fn unasked() -> [(&'static str, String); 5] {
    let request = |method| json!({"jsonrpc": "2.0", "id": "flood", "method": method}).to_string();
    [
        ("pings", request("ping")),
        ("roots", request("roots/list")),
        ("logs", log(100)),
        ("large logs", log(100_000)),
        ("noise", "y".to_owned()),
    ]
}

fn log(size: usize) -> String {
    let params = json!({"level": "info", "data": "x".repeat(size)});
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_in_place_of_a_handshake_costs_bounded_memory_and_ends_the_opening() {
    let _alone = ALONE.lock().await;
    let neighbours = pool_of(server(""), quiet());
    let openings = unasked().map(async |(name, line)| {
        let options = quiet_with(|options| options.connection_timeout = Duration::from_secs(2));
        let pool = pool_of(shell(&format!("exec yes '{line}'")), options);
        let error = within(pool.acquire()).await.unwrap_err();
        let in_time = matches!(
            error,
            AcquireError::Timeout { .. } | AcquireError::Open { .. }
        );
        assert!(in_time, "{name}: {error:?}");
        within(pool.close()).await;
    });
    beside("handshakes", &neighbours, openings).await;
    within(neighbours.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_before_a_handshake_does_not_keep_a_session_from_opening() {
    let _alone = ALONE.lock().await;
    let neighbours = pool_of(server(""), quiet());
    for (name, line) in unasked() {
        // A server that has written these requests, and another that reads the answers, are none of rmcp's.
        if matches!(name, "pings" | "roots") {
            continue;
        }
        // As many as may come at once.
        let lines = if name == "large logs" { 100 } else { 20_000 };
        let script = format!("yes '{line}' | head -n {lines}; exec {}", path());
        let pool = pool_of(shell(&script), quiet());
        let mut opened = beside(name, &neighbours, [within(pool.acquire())]).await;
        let lease = opened.remove(0).unwrap();
        assert_eq!(echo(&lease).await, "hello");
        drop(lease);
        within(pool.close()).await;
    }
    within(neighbours.close()).await;
}

/// The same over HTTP, as an event each, and what floods there alone.
fn events() -> Vec<(&'static str, Vec<u8>)> {
    let unasked = unasked().map(|(name, line)| (name, format!("data: {line}\n\n").into_bytes()));
    let mut events = Vec::from(unasked);
    events.push(("comments", b": x\n\n".to_vec()));
    events.push((
        "huge events",
        format!("data: {}\n\n", log(4 * MIB)).into_bytes(),
    ));
    events.push((
        "strays",
        format!(
            "data: {}\n\n",
            json!({"jsonrpc": "2.0", "id": "flood", "result": {}})
        )
        .into_bytes(),
    ));
    events
}

/// A server on threads of its own.
async fn apart(
    runtime: &Runtime,
    script: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
) -> ScriptedHttp {
    let starting = runtime.spawn(ScriptedHttp::start(script));
    starting.await.unwrap()
}

async fn none_is_open(server: &ScriptedHttp) {
    while server.open() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_over_http_costs_bounded_memory_wherever_it_comes() {
    let _alone = ALONE.lock().await;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let neighbours = pool_of(server(""), quiet());
    for (name, event) in events() {
        // As many as fit into some kilobytes at a time.
        let event = event.repeat((16 * 1024 / event.len()).max(1));
        let places = ["GET", "initialize", "tools/call", "after the reply"].map(async |place| {
            let name = format!("{name}, {place}");
            let event = event.clone();
            let script = move |asked: &Asked| {
                let done = json!({"content": [{"type": "text", "text": "hello"}]});
                let flood = match (place, asked.verb.as_str(), asked.method()) {
                    ("GET", "GET", _)
                    | ("initialize", _, "initialize")
                    | ("tools/call", _, "tools/call") => Answer::events(),
                    ("after the reply", _, "tools/call") => {
                        Answer::events().event(&asked.reply(done))
                    }
                    _ => return None,
                };
                Some(flood.flood(&event))
            };
            let server = apart(&runtime, script).await;
            let options = quiet_with(|options| options.connection_timeout = Duration::from_secs(1));
            let pool = pool_of(Http::new(server.url()).unwrap(), options);
            hostile_calls(&name, place, &pool).await;
            within(pool.close()).await;
            within(none_is_open(&server)).await;
        });
        beside(name, &neighbours, places).await;
    }
    within(neighbours.close()).await;
    runtime.shutdown_background();
}

/// Calls to a server that floods at this place, for a second.
async fn hostile_calls(name: &str, place: &str, pool: &SessionPool) {
    let acquired = within(pool.acquire()).await;
    if place == "initialize" {
        assert!(acquired.is_err(), "{name}");
        return;
    }
    let lease = acquired.unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        let called = call(&lease, "echo", json!({"message": "hello"}));
        if place == "tools/call" {
            // Its reply never comes.
            let answered = timeout(Duration::from_millis(500), called).await;
            assert!(!answered.is_ok_and(|answered| answered.is_ok()), "{name}");
        } else {
            let answered = within(called).await;
            assert!(answered.is_ok(), "{name}: {answered:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_and_does_not_read_the_answers_ends_with_a_cause() {
    let _alone = ALONE.lock().await;
    for flood in ["pings", "roots"] {
        let (pool, events) = observed(server(&format!("--flood {flood}")), quiet());
        let lease = within(pool.acquire()).await.unwrap();
        let frozen = call(&lease, "freeze", json!({"how": "stdin"}));
        within(frozen).await.unwrap_err();
        let cause = lease.cause_of_end().await;
        assert!(
            cause.starts_with("the server does not read what is sent to it: "),
            "{cause}"
        );
        drop(lease);
        events.wait_for(1, closed).await;
        within(pool.close()).await;
    }
}

/// A legacy server as a shell script: `on_call` runs for a tool call, with its `$id` and `$token`.
fn scripted(on_call: &str) -> String {
    format!(
        r#"
while read -r line; do
  id=${{line#*'"id":'}}; id=${{id%%[,\}}]*}}
  token=${{line#*'"progressToken":'}}; token=${{token%%[,\}}]*}}
  case $line in
  *'"server/discover"'*) printf '{{"jsonrpc":"2.0","id":%s,"error":{{"code":-32601,"message":"no"}}}}\n' "$id";;
  *'"initialize"'*) printf '{{"jsonrpc":"2.0","id":%s,"result":{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{{"name":"s","version":"1"}}}}}}\n' "$id";;
  *'"tools/call"'*) {on_call};;
  esac
done"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_of_progress_are_not_kept() {
    let _alone = ALONE.lock().await;
    const MESSAGES: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b'x'; 15 * MIB]).unwrap();
    let pool = pool_of(
        shell(&scripted(&format!(
            r#"
for number in $(seq {MESSAGES}); do
  printf '{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":%s,"progress":%s,"message":"' "$token" "$number"
  cat '{}'
  printf '"}}}}\n'
done
printf '{{"jsonrpc":"2.0","id":%s,"result":{{"content":[]}}}}\n' "$id""#,
            large.display()
        ))),
        quiet(),
    );
    let lease = within(pool.acquire()).await.unwrap();
    let watch = MemoryWatch::begin();
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let mut request =
        ClientRequest::CallToolRequest(CallToolRequest::new(CallToolRequestParams::new("any")));
    let kept = Arc::clone(&sizes);
    let sink: ProgressSink = Arc::new(move |progress: ProgressNotificationParam| {
        kept.lock()
            .push(progress.message.map_or(0, |message| message.len()));
    });
    let _route = lease.on_progress(&mut request, sink);
    timeout(Duration::from_secs(120), lease.send_request(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*sizes.lock(), vec![15 * MIB; MESSAGES]);
    let grown = watch.grown();
    println!("{MESSAGES} messages of progress: {} MiB", grown / MIB);
    assert!(grown < allowed(1), "{} MiB", grown / MIB);
    drop(lease);
    within(pool.close()).await;
}
