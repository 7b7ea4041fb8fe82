//! The commands that look and call, through the daemon.

use std::time::Duration;

use mcp_testkit::process::{self, Signal};
use serde_json::{Value, json};

use crate::{
    documents::document,
    home::{Home, test_server},
};

/// A home whose daemon runs. It is stopped with it.
struct Running(Home);

impl Running {
    fn start() -> Self {
        let home = Home::new();
        home.servers(json!({ "kit": test_server(&[]) }));
        home.command(&["start"]).assert().success();
        Self(home)
    }

    /// Standard output and standard error of a command that succeeds.
    fn run(&self, arguments: &[&str]) -> (String, String) {
        self.0.succeed(arguments)
    }

    fn stats(&self) -> Value {
        let (out, _) = self.run(&["call", "kit.stats"]);
        serde_json::from_str(&out).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.command(&["stop"]).output();
    }
}

#[test]
fn the_servers_of_the_daemon_answer_under_the_same_names() {
    let running = Running::start();
    let (out, err) = running.run(&["call", "kit.echo", "message=x", "-v"]);
    assert_eq!(
        (out.as_str(), err.trim()),
        ("x\n", "the servers are those of the daemon")
    );
    let (out, _) = running.run(&["prompt", "kit.greeting", "name=Ada"]);
    assert_eq!(out, "Say hello to Ada.\n");
    let (out, _) = running.run(&["read", "testkit://readme"]);
    assert_eq!(out, "A server for tests.\n");
    let (out, _) = running.run(&["complete", "kit.review", "language", "Ru"]);
    assert_eq!(out, "Ruby\nRust\n");
    let (out, _) = running.run(&["list"]);
    assert!(
        out.contains("  r add(a: number, b: number) -> {sum: number}"),
        "{out}"
    );
    document(&running.0, &["list", "kit.add"], 0);
    document(&running.0, &["call", "kit.tool_error", "message=x"], 5);
    running.0.command(&["call", "kit.ehco"]).assert().code(1);
}

#[test]
fn progress_and_questions_come_through_the_daemon() {
    let running = Running::start();
    let (_, err) = running.run(&["call", "kit.progress", "steps=3", "ms=20", "-v"]);
    assert!(err.contains("progress: 1 of 3"), "{err}");
    let (out, err) = running.run(&["call", "kit.ask", "what=elicitation"]);
    assert_eq!(out.trim(), r#"{"elicitation":"declined"}"#);
    assert!(
        err.contains("server `kit` asks for input (who are you?): declined"),
        "{err}"
    );
}

#[test]
fn a_server_with_any_name_is_reached_through_the_daemon() {
    let names = ["my server", "@scope/name", "a%41?b#c", "größe"];
    let home = Home::new();
    let servers: serde_json::Map<_, _> = { names.iter() }
        .map(|name| ((*name).to_owned(), test_server(&[])))
        .collect();
    home.servers(servers.into());
    home.command(&["start"]).assert().success();
    let running = Running(home);
    for name in names {
        let (out, _) = running.run(&["list", name]);
        assert!(out.contains("  r add("), "{name}: {out}");
        let (out, err) = running.run(&["call", &format!("{name}.echo"), "message=x", "-v"]);
        assert_eq!(out, "x\n", "{name}");
        assert!(err.contains("those of the daemon"), "{name}: {err}");
        running.run(&["restart", name]);
    }
}

#[test]
fn the_daemon_is_used_only_if_it_has_the_servers_of_the_same_file() {
    let running = Running::start();
    let home = &running.0;
    let own = home.servers(json!({ "kit": test_server(&[]) }));
    let other = json!({ "mcpServers": { "kit": test_server(&[]) } });
    let other = home.write("other.json", other.to_string());
    let uses_daemon = |home: &Home, file: Option<&std::path::Path>| {
        let mut command = home.command(&["call", "kit.echo", "message=x", "-v"]);
        if let Some(file) = file {
            command.env("MCP_CONFIG_PATH", file);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert_ne!(
            said.contains("those of the daemon"),
            said.contains("the servers of other files"),
            "{said}"
        );
        said.contains("those of the daemon")
    };
    assert!(uses_daemon(home, None));
    assert!(uses_daemon(home, Some(&own)));
    assert!(!uses_daemon(home, Some(&other)));

    // The other way round: the daemon has a file of its own.
    running.run(&["stop"]);
    running.run(&["--config", "other.json", "start"]);
    assert!(!uses_daemon(home, None));
    assert!(uses_daemon(home, Some(std::path::Path::new("other.json"))));
    running.run(&["stop"]);
    let mut start = home.command(&["start"]);
    let folder = home.path().join(".config");
    let relative = start
        .env("MCP_CONFIG_PATH", "mcp-pool/mcp.json")
        .current_dir(folder);
    relative.assert().success();
    assert!(uses_daemon(home, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_reaches_the_server_through_the_daemon() {
    let running = Running::start();
    let call = ["call", "kit.sleep", "ms=60000", "--timeout", "60s"];
    let mut child = running.0.process(&call).spawn().unwrap();
    let called = || running.stats()["calls"]["sleep"] == 1;
    assert!(process::wait_until(LIMIT, called).await);
    process::signal(child.id(), Signal::INT).unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(130));
    let interrupted = || running.stats()["interruptions"][0]["tool"] == "sleep";
    assert!(process::wait_until(LIMIT, interrupted).await);
}

const LIMIT: Duration = Duration::from_secs(30);
