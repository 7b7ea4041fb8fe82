//! Clients over lines and over a Unix socket.

use mcp_gateway::Gateway;
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, config::Lifecycle, core::connect::in_process::InProcess,
};
use mcp_testkit::{Era, TestServer, process::wait_until};
use rmcp::{
    RoleClient, ServiceExt as _,
    model::ProtocolVersion,
    service::{ClientLifecycleMode, RunningService, serve_client_with_lifecycle},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream},
    time::timeout,
};

use crate::common::{LONG, Person, call, manager, over_http, text};

/// The client's end of a pipe to the gateway.
pub(crate) fn pipe(gateway: &Gateway) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(theirs);
    let gateway = gateway.clone();
    tokio::spawn(async move {
        gateway
            .serve_lines(reader, writer, std::future::pending())
            .await
    });
    ours
}

async fn asked(client: &RunningService<RoleClient, Person>) -> String {
    let what = json!({"what": ["elicitation", "roots"]});
    let asked = timeout(LONG, client.call_tool(call("test__ask", what))).await;
    text(&asked.unwrap().unwrap())
}

#[tokio::test]
async fn a_client_of_either_era_over_lines_is_asked_and_answers() {
    const SAID: &str = r#"{"elicitation":"ann","roots":"file:///ann"}"#;
    for era in [Era::Legacy, Era::Modern] {
        let (_server, manager) = over_http(era).await;
        let gateway = Gateway::builder(manager).build().unwrap();
        let legacy = Person::named("ann").serve(pipe(&gateway)).await.unwrap();
        assert_eq!(asked(&legacy).await, SAID);
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        let lifecycle = ClientLifecycleMode::Discover { preferred_versions };
        let modern = serve_client_with_lifecycle(Person::named("ann"), pipe(&gateway), lifecycle);
        let modern = modern.await.unwrap();
        assert_eq!(asked(&modern).await, SAID);
    }
}

#[tokio::test]
async fn a_client_over_lines_that_goes_cancels_its_calls() {
    let server = TestServer::new();
    let gateway = Gateway::builder(manager(&server).await).build().unwrap();
    let client = Person::named("ann").serve(pipe(&gateway)).await.unwrap();
    let peer = client.peer().clone();
    let calling = tokio::spawn(async move {
        peer.call_tool(call("test__sleep", json!({"ms": 20_000})))
            .await
    });
    assert!(wait_until(LONG, || server.calls_of("sleep") == 1).await);
    client.cancel().await.unwrap();
    assert!(wait_until(LONG, || server.cancelled() == 1).await);
    assert!(calling.await.unwrap().is_err());
}

#[tokio::test]
async fn a_line_that_is_no_message_or_too_long_is_answered_and_the_next_is_served() {
    let gateway = Gateway::builder(manager(&TestServer::new()).await).max_message_size(1_000);
    let gateway = gateway.build().unwrap();
    let mut client = BufReader::new(pipe(&gateway));
    let too_long = "x".repeat(2_000);
    let ping = r#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#;
    let sent = format!("nonsense\n\n{too_long}\n{ping}\n");
    client.write_all(sent.as_bytes()).await.unwrap();
    let mut lines = client.lines();
    for expected in [
        "-32700",
        "the message is too long",
        r#"{"jsonrpc":"2.0","id":"a","result":{}}"#,
    ] {
        let line = timeout(LONG, lines.next_line()).await.unwrap();
        let line = line.unwrap().unwrap();
        assert!(line.contains(expected), "{line}");
    }
}

/// A modern client that is no more than its lines.
struct Lines {
    reader: tokio::io::Lines<BufReader<tokio::io::ReadHalf<DuplexStream>>>,
    writer: tokio::io::WriteHalf<DuplexStream>,
}

impl Lines {
    fn of(gateway: &Gateway) -> Self {
        let (reader, writer) = tokio::io::split(pipe(gateway));
        let reader = BufReader::new(reader).lines();
        Self { reader, writer }
    }

    async fn write(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.writer.write_all(line.as_bytes()).await.unwrap();
    }

    async fn request(&mut self, id: u64, method: &str, mut params: Value) {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "form": {} } },
        });
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.write(&message).await;
    }

    async fn cancel(&mut self, id: u64) {
        let params = json!({ "requestId": id });
        let method = "notifications/cancelled";
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.write(&message).await;
    }

    async fn next(&mut self) -> Value {
        let line = timeout(LONG, self.reader.next_line()).await.unwrap();
        serde_json::from_str(&line.unwrap().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_modern_client_over_lines_can_cancel_a_subscription() {
    const ID: &str = "io.modelcontextprotocol/subscriptionId";
    let server = TestServer::new();
    let gateway = Gateway::builder(manager(&server).await).build().unwrap();
    let mut client = Lines::of(&gateway);
    for id in [3, 4] {
        let wanted = json!({ "notifications": { "toolsListChanged": true } });
        client.request(id, "subscriptions/listen", wanted).await;
        let acknowledged = client.next().await;
        assert_eq!(acknowledged["params"]["_meta"][ID], id, "{acknowledged}");
    }
    client.cancel(3).await;
    for (id, name) in [(5, "fresh"), (6, "fresher")] {
        let params =
            json!({ "name": "test__set_tools", "arguments": { "names": ["set_tools", name] } });
        client.request(id, "tools/call", params).await;
        let (mut answered, mut heard) = (false, false);
        while !(answered && heard) {
            let message = client.next().await;
            match message["id"].as_u64() {
                Some(of) => answered |= of == id,
                None => {
                    assert_eq!(message["params"]["_meta"][ID], 4, "{message}");
                    heard = true;
                }
            }
        }
    }
}

/// A legacy server whose tool asks, and then waits until it is cancelled.
#[derive(Clone, Default)]
struct AsksAndWaits(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl rmcp::ServerHandler for AsksAndWaits {
    fn get_info(&self) -> rmcp::model::ServerConfig {
        let capabilities = rmcp::model::ServerCapabilities::builder().enable_tools();
        rmcp::model::ServerConfig::new(capabilities.build())
    }

    async fn list_tools(
        &self,
        _: Option<rmcp::model::PaginatedRequestParams>,
        _: rmcp::service::RequestContext<rmcp::RoleServer>,
    ) -> Result<rmcp::model::ListToolsResult, rmcp::ErrorData> {
        let tools = json!({ "tools": [{ "name": "wait", "inputSchema": { "type": "object" } }] });
        Ok(serde_json::from_value(tools).unwrap())
    }

    async fn call_tool(
        &self,
        _: rmcp::model::CallToolRequestParams,
        context: rmcp::service::RequestContext<rmcp::RoleServer>,
    ) -> Result<rmcp::model::CallToolResponse, rmcp::ErrorData> {
        use std::sync::atomic::Ordering;
        let question = json!({ "method": "elicitation/create", "params": {
            "mode": "form", "message": "who?", "requestedSchema": { "type": "object", "properties": {} },
        }});
        let question: rmcp::model::ServerRequest = serde_json::from_value(question).unwrap();
        context.peer.send_request(question).await.unwrap();
        self.0.fetch_add(1, Ordering::Release);
        context.ct.cancelled().await;
        self.0.fetch_add(1, Ordering::Release);
        Err(rmcp::ErrorData::internal_error("cancelled", None))
    }
}

#[tokio::test]
async fn a_modern_client_over_lines_can_cancel_a_call_that_it_has_resumed() {
    let server = AsksAndWaits::default();
    let connector = InProcess::new({
        let server = server.clone();
        move || server.clone()
    });
    let settings = PoolSettings::new().retry_attempts(0).min_connections(0);
    let settings = settings.lifecycle(Lifecycle::Initialize);
    let manager = ConnectionManager::builder().connector("test", connector, settings);
    let gateway = Gateway::builder(manager.build().await.unwrap());
    let gateway = gateway.build().unwrap();
    let mut client = Lines::of(&gateway);
    let mut params = json!({ "name": "test__wait", "arguments": {} });
    client.request(6, "tools/call", params.clone()).await;
    let asked = client.next().await;
    let questions = asked["result"]["inputRequests"].as_object();
    let mut questions = questions.unwrap_or_else(|| panic!("{asked}")).keys();
    params["requestState"] = asked["result"]["requestState"].clone();
    let answer = json!({ "action": "accept", "content": {} });
    params["inputResponses"] = json!({ questions.next().unwrap(): answer });
    client.request(7, "tools/call", params).await;
    let steps = || server.0.load(std::sync::atomic::Ordering::Acquire);
    assert!(wait_until(LONG, || steps() == 1).await, "it goes on");
    client.cancel(7).await;
    assert!(wait_until(LONG, || steps() == 2).await, "it was cancelled");
}

#[cfg(unix)]
#[tokio::test]
async fn the_same_is_served_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let gateway = Gateway::builder(manager(&TestServer::new()).await)
        .build()
        .unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        gateway.serve(listener, async { drop(ended.await) }).await;
    });
    let http = reqwest::Client::builder()
        .unix_socket(path)
        .build()
        .unwrap();
    let params = json!({"name": "test__echo", "arguments": {"message": "a"}});
    let response =
        crate::common::raw::modern(&http, "http://localhost/mcp", 1, "tools/call", params).await;
    let response: Value = response.json().await.unwrap();
    assert_eq!(response["result"]["content"][0]["text"], "a");
    drop(end);
    timeout(LONG, serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_over_lines_that_does_not_read_does_not_hold_up_the_end() {
    let gateway = Gateway::builder(manager(&TestServer::new()).await)
        .grace(std::time::Duration::from_millis(100))
        .build()
        .unwrap();
    // Less than one response.
    let (mut client, theirs) = tokio::io::duplex(64);
    let (reader, writer) = tokio::io::split(theirs);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn({
        let gateway = gateway.clone();
        async move {
            let end = async { drop(ended.await) };
            gateway.serve_lines(reader, writer, end).await
        }
    });
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}});
    let line = format!("{initialize}\n");
    client.write_all(line.as_bytes()).await.unwrap();
    drop(end);
    timeout(LONG, serving).await.unwrap().unwrap().unwrap();
}
