//! Clients of rmcp on servers in child processes.

use std::{process::Stdio, time::Duration};

use mcp_testkit::process;
use rmcp::{
    ErrorData, RoleClient, ServiceError,
    model::{CallToolRequestParams, CallToolResult, ProtocolVersion},
    service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt, RunningService},
    transport::TokioChildProcess,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// Longer than anything here takes, shorter than a test runner's patience.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Long enough for an answer that is on its way, short enough to wait for one that never comes.
pub(crate) const A_WHILE: Duration = Duration::from_millis(150);

pub(crate) type Client = RunningService<RoleClient, ()>;

/// A server process and the client that talks to it.
pub(crate) struct Pair {
    pub(crate) client: Client,
    pub(crate) pid: u32,
}

pub(crate) fn initialize() -> ClientLifecycleMode {
    ClientLifecycleMode::Initialize
}

pub(crate) fn discover() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    }
}

pub(crate) fn auto() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: None,
    }
}

/// The command of a server, with arguments written as on a command line.
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-testkit"));
    command.args(arguments.split_whitespace());
    // No hostile server outlives its test: rmcp kills from a task, which a runtime that ends never runs.
    command.kill_on_drop(true);
    command.args(["--max-lifetime", "60"]);
    command
}

pub(crate) fn spawn(arguments: &str) -> (TokioChildProcess, u32) {
    let child = TokioChildProcess::builder(command(arguments))
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
        .0;
    let pid = child.id().unwrap();
    (child, pid)
}

pub(crate) async fn open_as(
    arguments: &str,
    lifecycle: ClientLifecycleMode,
) -> Result<Pair, ClientInitializeError> {
    let (child, pid) = spawn(arguments);
    let opening = ().serve_with_lifecycle(child, lifecycle);
    let client = tokio::time::timeout(SOON, opening)
        .await
        .expect("the opening hangs")?;
    Ok(Pair { client, pid })
}

pub(crate) async fn open(arguments: &str) -> Pair {
    open_as(arguments, auto()).await.unwrap()
}

impl Pair {
    pub(crate) async fn call(
        &self,
        tool: &'static str,
        arguments: Value,
    ) -> Result<CallToolResult, ServiceError> {
        call(&self.client, tool, arguments).await
    }

    pub(crate) async fn ask(&self, tool: &'static str, arguments: Value) -> String {
        text(&self.call(tool, arguments).await.unwrap())
    }

    /// Whether the server answers.
    pub(crate) async fn answers(&self) -> bool {
        self.call("echo", json!({"message": "?"})).await.is_ok()
    }

    /// Whether the server lets a call wait.
    pub(crate) async fn is_silent(&self) -> bool {
        let echo = self.call("echo", json!({"message": "?"}));
        tokio::time::timeout(A_WHILE, echo).await.is_err()
    }

    pub(crate) async fn is_gone(&self) -> bool {
        process::wait_gone([self.pid], SOON).await
    }
}

pub(crate) async fn call(
    client: &Client,
    tool: &'static str,
    arguments: Value,
) -> Result<CallToolResult, ServiceError> {
    let request =
        CallToolRequestParams::new(tool).with_arguments(arguments.as_object().unwrap().clone());
    tokio::time::timeout(SOON, client.call_tool(request))
        .await
        .expect("the call hangs")
}

pub(crate) fn text(result: &CallToolResult) -> String {
    result.content[0].as_text().expect("a text").text.clone()
}

pub(crate) fn protocol_error(result: Result<CallToolResult, ServiceError>) -> ErrorData {
    match result {
        Err(ServiceError::McpError(error)) => error,
        other => panic!("not a JSON-RPC error: {other:?}"),
    }
}

/// A server without a client: its pipes in the hands of the test.
pub(crate) struct Raw {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Raw {
    pub(crate) fn spawn(arguments: &str) -> Self {
        let mut child = command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
        }
    }

    pub(crate) async fn send(&mut self, message: Value) {
        let line = format!("{message}\n");
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).await.unwrap();
    }

    /// The next line, or nothing at the end of stdout.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let line = tokio::time::timeout(SOON, self.stdout.next_line()).await;
        line.expect("no line came").unwrap()
    }

    pub(crate) async fn initialize(&mut self) {
        self.send(
            json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "raw", "version": "0"},
            }}),
        )
        .await;
        self.line().await.unwrap();
        self.send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }

    pub(crate) async fn begin_call(&mut self, id: u32, tool: &str, arguments: Value) {
        let params = json!({"name": tool, "arguments": arguments});
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
            .await;
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn alive(&self) -> bool {
        process::alive(self.child.id().unwrap())
    }
}
