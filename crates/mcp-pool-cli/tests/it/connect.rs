//! `connect`: a client that speaks stdio, and the daemon behind it.

use std::{collections::BTreeSet, path::PathBuf, process::Command, sync::Arc, time::Duration};

use axum::{Router, http::StatusCode, response::IntoResponse as _, routing::post};
use mcp_testkit::process::{Signal, signal};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    daemon::{World, until},
    fake::FakeDaemon,
    home::{Home, test_server},
    lines::{Lines, modern_meta},
};

#[test]
fn the_next_call_works_after_the_daemon_was_killed() {
    let world = World::new();
    let mut client = world.connect();
    client.initialize();
    let echo = json!({ "message": "hello" });
    let text = |answer: &Value| answer["result"]["content"][0]["text"].clone();
    assert_eq!(text(&client.call("test__echo", echo.clone())), "hello");
    for _ in 0..2 {
        signal(world.pid(), Signal::KILL).unwrap();
        let answer = client.call("test__echo", echo.clone());
        assert_eq!(text(&answer), "hello", "{answer}");
    }
}

#[test]
fn a_call_under_way_when_the_daemon_is_killed_fails_at_once_and_says_that_its_outcome_is_unknown() {
    let world = World::new();
    let mut client = world.connect();
    client.initialize();
    client.call("test__echo", json!({ "message": "hello" }));
    let call = json!({ "name": "test__sleep", "arguments": { "ms": 600_000 } });
    let call = client.request("tools/call", call);
    let in_flight = || {
        let output = world.0.command(&["status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        status["servers"][0]["in_flight"] == 1
    };
    until(in_flight);
    let pid = world.pid();
    let killed = Instant::now();
    signal(pid, Signal::KILL).unwrap();
    let answer = client.answer(call);
    assert!(
        killed.elapsed() < Duration::from_secs(30),
        "{:?}",
        killed.elapsed()
    );
    let error = &answer["error"];
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("outcome") && message.contains("unknown"),
        "{answer}"
    );
    assert_eq!(error["data"]["source"], "mcp-pool");
    let list = client.request("tools/list", json!({}));
    assert!(client.answer(list)["result"]["tools"].is_array());
}

#[test]
fn a_session_whose_key_is_lost_is_made_again_unseen() {
    let world = World::new();
    let mut client = world.connect();
    client.initialize();
    signal(world.pid(), Signal::KILL).unwrap();
    std::fs::remove_file(world.0.path().join(".local/state/mcp-pool/key")).unwrap();
    let answer = client.call("test__echo", json!({ "message": "hello" }));
    assert_eq!(answer["result"]["content"][0]["text"], "hello", "{answer}");
}

#[test]
fn a_modern_client_is_served_without_initialize() {
    let world = World::new();
    let mut client = world.connect();
    let meta = modern_meta();
    let discover = client.request("server/discover", json!({ "_meta": meta }));
    let discovered = client.answer(discover);
    assert_eq!(
        discovered["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "mcp-pool",
        "{discovered}"
    );
    let answer = client.call_modern("test__echo", json!({ "message": "grüße" }));
    assert_eq!(answer["result"]["content"][0]["text"], "grüße", "{answer}");
    let odd = client.request("no/such/method", json!({ "_meta": meta }));
    let answer = client.answer(odd);
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
}

#[test]
fn a_change_of_a_list_reaches_the_client_without_a_request() {
    let world = World(Home::new());
    // The client is welcomed before its tools are known.
    world
        .0
        .servers(json!({ "slow": test_server(&["--slow-start", "500"]) }));
    let mut client = world.connect();
    client.initialize();
    while client.message()["method"] != "notifications/tools/list_changed" {}
}

#[test]
fn requests_that_are_written_at_once_are_answered_before_the_end() {
    let world = World::new();
    world.start();
    let mut client = world.connect();
    client.initialize();
    let mut open: Vec<_> = (0..20)
        .map(|number| {
            let call =
                json!({ "name": "test__echo", "arguments": { "message": number.to_string() } });
            client.request("tools/call", call)
        })
        .collect();
    while !open.is_empty() {
        let message = client.message();
        open.retain(|id| message["id"] != *id);
    }
    client.send(&json!("no message"));
    let refused = client.message();
    assert_eq!(refused["id"], Value::Null, "{refused}");
    assert!(refused["error"]["code"].is_i64(), "{refused}");
    assert!(client.close().0.success());
}

#[test]
fn what_is_written_behind_initialize_waits_for_its_session() {
    let world = World::new();
    let mut client = world.connect();
    let params = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": { "name": "lines", "version": "1" },
    });
    let initialize = client.request("initialize", params);
    client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let call = json!({ "name": "test__echo", "arguments": { "message": "hello" } });
    let call = client.request("tools/call", call);
    let first = client.message();
    assert_eq!(first["id"], initialize, "{first}");
    let answer = client.answer(call);
    assert_eq!(answer["result"]["content"][0]["text"], "hello", "{answer}");
    assert!(client.close().0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_has_overtaken_its_request_is_sent_again() {
    let home = Home::new();
    let socket = home.path().join("fake.sock");
    let (cancellations, ended) = (Arc::new(watch::Sender::new(0)), Arc::new(Notify::new()));
    let all = (Arc::clone(&cancellations), Arc::clone(&ended));
    let answer = async move |body: String| {
        let (cancellations, ended) = all.clone();
        let message: Value = serde_json::from_str(&body).unwrap();
        match message["method"].as_str() {
            Some("initialize") => {
                let result = json!({ "jsonrpc": "2.0", "id": message["id"], "result": {} });
                ([("mcp-session-id", "s")], result.to_string()).into_response()
            }
            Some("tools/call") => {
                let mut seen = cancellations.subscribe();
                // The call is known from now on: after the first cancellation.
                seen.wait_for(|count| *count > 0).await.unwrap();
                let before = *seen.borrow();
                seen.wait_for(|count| *count > before).await.unwrap();
                ended.notify_one();
                ([("content-type", "text/event-stream")], "").into_response()
            }
            Some("notifications/cancelled") => {
                cancellations.send_modify(|count| *count += 1);
                StatusCode::ACCEPTED.into_response()
            }
            _ => StatusCode::ACCEPTED.into_response(),
        }
    };
    let _daemon = FakeDaemon::at(&socket, Router::new().route("/mcp", post(answer)));
    let socket = socket.to_string_lossy().into_owned();
    let mut client = Lines::start(home.process(&["connect", "--socket", &socket]));
    client.initialize();
    let call = client.request("tools/call", json!({ "name": "a", "arguments": {} }));
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": call } });
    client.send(&cancel);
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, ended.notified())
        .await
        .expect("the call is cancelled");
    client.close();
    assert!(*cancellations.borrow() >= 2);
}

/// A world whose server holds the state of one client.
fn pinned(era: &str) -> World {
    let world = World(Home::new());
    let mut server = test_server(&["--era", era]);
    server["pool"] = json!({ "sharing": "pinned" });
    world.0.servers(json!({ "test": server }));
    world.start();
    world
}

/// A client of one era or the other, and how it calls.
struct Client(Lines, bool);

impl Client {
    fn of(world: &World, is_modern: bool) -> Self {
        let mut lines = world.connect();
        if !is_modern {
            lines.initialize();
        }
        Self(lines, is_modern)
    }

    #[track_caller]
    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = match self.1 {
            true => self.0.call_modern(tool, arguments),
            false => self.0.call(tool, arguments),
        };
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// The process that serves it.
    #[track_caller]
    fn server(&mut self) -> u64 {
        let said = self.call("test__whoami", json!({}));
        said["structuredContent"]["pid"].as_u64().unwrap()
    }
}

#[test]
fn the_state_of_a_pinned_server_never_reaches_another_connect() {
    for era in ["legacy", "modern"] {
        let world = pinned(era);
        let eras = [false, false, true, true].into_iter();
        let mut clients: Vec<_> = eras.map(|modern| Client::of(&world, modern)).collect();
        let mut servers = BTreeSet::new();
        for client in &mut clients {
            let server = client.server();
            assert!(servers.insert(server), "{era}: another client has it");
            // What it counts is its own, from the first on.
            let text = |said: Value| said["content"][0]["text"].clone();
            assert_eq!(text(client.call("test__count", json!({}))), "1");
            assert_eq!(text(client.call("test__count", json!({}))), "2");
            assert_eq!(client.server(), server, "{era}: its state is lost");
        }
    }
}

#[test]
fn a_client_that_is_killed_leaves_no_session_behind() {
    let world = pinned("modern");
    for is_modern in [false, true] {
        let mut client = Client::of(&world, is_modern);
        let pid = u32::try_from(client.server()).unwrap();
        drop(client);
        until(|| !mcp_testkit::process::alive(pid));
    }
}

#[test]
fn connect_reads_no_configuration() {
    let home = Home::new();
    let output = home
        .command(&["--config", "x.json", "connect"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let output = home
        .command(&["connect", "--socket", "/nowhere/x.sock"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
}

/// A variable of the gate.
fn variable(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) => Some(value),
        Err(_) if std::env::var("POOL_TEST_CLIENTS").is_ok_and(|value| value == "required") => {
            panic!("{name} is not set")
        }
        Err(_) => {
            eprintln!("skipped: {name} is not set");
            None
        }
    }
}

/// Runs a client of an official SDK over `mcp-pool connect`, and returns what it saw.
fn observe(world: &World, program: &str, script: &str, arguments: &[String]) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(script);
    let own = world.0.process(&[]);
    let mut command = Command::new(program);
    command.env_clear();
    for (name, value) in own.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command
        .arg(script)
        .args(arguments)
        .arg(env!("CARGO_BIN_EXE_mcp-pool"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().last().unwrap_or_default();
    let seen: Value = serde_json::from_str(line).unwrap_or_else(|error| {
        panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr))
    });
    assert_eq!(
        seen,
        json!({ "listed": true, "echo": "héllo ☀", "error": true }),
        "{arguments:?}"
    );
}

#[test]
fn the_typescript_sdks_call_through_connect() {
    let Some(tools) = variable("POOL_TEST_CLIENTS_IN") else {
        return;
    };
    let world = World::new();
    for (sdk, eras) in [
        ("sdk1", &["legacy"][..]),
        ("sdk2", &["legacy", "2026-07-28"]),
    ] {
        for era in eras {
            let arguments = [sdk.to_owned(), format!("{tools}/{sdk}"), (*era).to_owned()];
            observe(&world, "node", "stdio.mjs", &arguments);
        }
    }
}

#[test]
fn the_python_sdk_calls_through_connect() {
    let Some(python) = variable("POOL_TEST_PYTHON") else {
        return;
    };
    let world = World::new();
    observe(&world, &python, "stdio.py", &[]);
}
