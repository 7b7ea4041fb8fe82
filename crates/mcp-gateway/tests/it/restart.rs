//! Clients stay connected while the gateway's process is ended and started.

use std::{path::Path, process::Stdio, time::Duration};

use mcp_gateway::Gateway;
use mcp_pooled_tools::{ConnectionManager, PoolSettings, ServerConfig, Sharing};
use mcp_testkit::process::{self, Signal};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use crate::{
    common::{
        MINUTE,
        programs::{free_port, listening},
    },
    sdk::{installed, script, variable},
};

const PORT: &str = "POOL_TEST_GATEWAY_PORT";
const KEY: &str = "POOL_TEST_GATEWAY_KEY";

/// The gateway of the other tests here, which start this program again for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process of other tests"]
async fn serves_in_a_process_of_its_own() {
    let Ok(port) = std::env::var(PORT) else {
        return;
    };
    let test = ServerConfig::stdio(mcp_testkit::binary().to_string_lossy());
    let manager = ConnectionManager::builder()
        .server("test", test)
        // Each client's state is its own, and lost when the gateway ends.
        .defaults(
            PoolSettings::new()
                .min_connections(0)
                .max_connections(32)
                .sharing(Sharing::Pinned),
        )
        .build()
        .await
        .unwrap();
    let gateway = Gateway::builder(manager)
        .key_file(std::env::var(KEY).unwrap())
        .grace(Duration::from_secs(2));
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).await;
    let mut terminated = signal(SignalKind::terminate()).unwrap();
    let end = async move {
        terminated.recv().await;
    };
    gateway.build().unwrap().serve(listener.unwrap(), end).await;
}

struct GatewayProcess(Child);

impl GatewayProcess {
    async fn start(port: u16, key: &Path) -> Self {
        let this = std::env::current_exe().unwrap();
        let mut command = Command::new(this);
        command
            .args([
                "restart::serves_in_a_process_of_its_own",
                "--exact",
                "--ignored",
            ])
            .envs([(PORT, port.to_string()), (KEY, key.display().to_string())]);
        Self(listening(command, port).await)
    }

    async fn end(mut self, by: Signal) {
        process::signal(self.0.id().unwrap(), by).unwrap();
        timeout(MINUTE, self.0.wait()).await.unwrap().unwrap();
    }
}

/// A process of several clients.
struct Clients {
    name: &'static str,
    is_modern: bool,
    stdin: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Clients {
    async fn start(name: &'static str, mut command: Command, url: &str, era: &str) -> Self {
        let mut child = command
            .args([url, era, &EACH.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut clients = Self {
            name,
            is_modern: era != "legacy",
            stdin,
            said: BufReader::new(stdout).lines(),
            _child: child,
        };
        assert_eq!(clients.next().await, json!({ "connected": EACH }), "{name}");
        clients
    }

    async fn next(&mut self) -> Value {
        let line = timeout(MINUTE, self.said.next_line()).await.unwrap();
        let line = line
            .unwrap()
            .unwrap_or_else(|| panic!("{}: ended", self.name));
        serde_json::from_str(&line).unwrap()
    }

    /// Each client calls a tool, each call succeeds, and each client gets so many reports of lost state.
    async fn call(&mut self, message: &str, lost: usize) {
        let line = format!("{message}\n");
        self.stdin.write_all(line.as_bytes()).await.unwrap();
        let expected = json!({ "answers": vec![message; EACH], "lost": vec![lost; EACH] });
        assert_eq!(self.next().await, expected, "{}", self.name);
    }
}

fn node(line: &str, folder: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg(script("stay.mjs")).arg(folder).arg(line);
    command
}

fn python(program: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(script("stay.py"));
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_clients_of_four_kinds_go_on_after_a_restart_and_a_kill_and_hear_once_of_lost_state()
{
    let (Some(sdk1), Some(sdk2), Some(python_first), Some(python_second)) = (
        installed("sdk1"),
        installed("sdk2"),
        variable("POOL_TEST_PYTHON_FIRST"),
        variable("POOL_TEST_PYTHON"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let port = free_port().await;
    let url = format!("http://127.0.0.1:{port}/mcp");
    let mut gateway = GatewayProcess::start(port, &key).await;
    let modern = "2026-07-28";
    let mut clients = [
        Clients::start("sdk1", node("sdk1", &sdk1), &url, "legacy").await,
        Clients::start("sdk2", node("sdk2", &sdk2), &url, modern).await,
        Clients::start("python 1", python(&python_first), &url, "legacy").await,
        Clients::start("python 2", python(&python_second), &url, "legacy").await,
    ];
    for client in &mut clients {
        client.call("before", 0).await;
    }
    for (by, message) in [
        (Signal::TERM, "after a restart"),
        (Signal::KILL, "after a kill"),
        (Signal::TERM, "after another restart"),
    ] {
        gateway.end(by).await;
        gateway = GatewayProcess::start(port, &key).await;
        for client in &mut clients {
            // Nothing names the session of a modern client, so that an earlier process is not known to have had it.
            let lost = if client.is_modern { 0 } else { 1 };
            client.call(message, lost).await;
            client.call("and again", 0).await;
        }
    }
}

const EACH: usize = 5;
