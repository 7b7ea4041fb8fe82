//! What the tests of this crate share.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(deprecated, reason = "servers still ask for sampling and roots")]

pub(crate) mod edge;
pub(crate) mod load;
pub(crate) mod programs;
pub(crate) mod raw;

use std::{net::SocketAddr, time::Duration};

use mcp_gateway::{Gateway, GatewayBuilder};
use mcp_pooled_tools::{
    ConnectionManager, PoolSettings, ServerConfig, Sharing, core::connect::in_process::InProcess,
};
use mcp_testkit::{Era, HttpOptions, HttpServer, TestServer};
use rmcp::{
    ClientHandler, ErrorData, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
        ElicitRequestParams, ElicitResult, Implementation, ListRootsResult,
        LoggingMessageNotificationParam, ProgressNotificationParam,
    },
    service::{NotificationContext, RequestContext},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Long enough for anything that ends.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Long enough for much that ends.
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A gateway that listens on a port of this machine.
pub(crate) struct Served {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start(gateway: GatewayBuilder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = gateway.build().unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let serving = tokio::spawn({
            let gateway = gateway.clone();
            async move {
                let end = async { drop(ended.await) };
                gateway.serve(listener, end).await;
            }
        });
        Self {
            gateway,
            address,
            end: Some(end),
            serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Begins the end.
    pub(crate) fn end(&mut self) {
        self.end.take();
    }

    /// Ends, and waits for it.
    pub(crate) async fn stop(mut self) {
        self.end();
        tokio::time::timeout(LONG, self.serving)
            .await
            .unwrap()
            .unwrap();
    }
}

/// A manager of one server in this process, `test`.
pub(crate) async fn manager(server: &TestServer) -> ConnectionManager {
    let server = server.clone();
    ConnectionManager::builder()
        .connector(
            "test",
            InProcess::new(move || server.clone()),
            PoolSettings::new().retry_attempts(0).min_connections(0),
        )
        .build()
        .await
        .unwrap()
}

/// A manager of a server over HTTP, `test`, of this era, whose sessions belong to scopes.
pub(crate) async fn over_http(era: Era) -> (HttpServer, ConnectionManager) {
    let server = HttpServer::start(HttpOptions {
        era,
        ..HttpOptions::default()
    })
    .await;
    let sharing = match era {
        Era::Legacy => Sharing::Pinned,
        _ => Sharing::Multiplexed,
    };
    let settings = PoolSettings::new()
        .retry_attempts(0)
        .min_connections(0)
        .sharing(sharing);
    let manager = ConnectionManager::builder()
        .server("test", ServerConfig::http(server.url()))
        .defaults(settings)
        .build()
        .await
        .unwrap();
    (server, manager)
}

/// A client that answers whatever it is asked, by its name.
#[derive(Clone, Default)]
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) progress: std::sync::Arc<parking_lot::Mutex<Vec<f64>>>,
    pub(crate) logs: std::sync::Arc<parking_lot::Mutex<Vec<Value>>>,
    /// Pages that it was sent to.
    pub(crate) urls: std::sync::Arc<parking_lot::Mutex<Vec<String>>>,
    pub(crate) changes: std::sync::Arc<tokio::sync::Notify>,
    /// How long it takes to fill in a form.
    pub(crate) thinks: Duration,
    /// Forms that were withdrawn before.
    pub(crate) withdrawn: std::sync::Arc<parking_lot::Mutex<u32>>,
}

impl Person {
    pub(crate) fn named(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let capabilities =
            json!({ "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {} });
        let capabilities: ClientCapabilities = serde_json::from_value(capabilities).unwrap();
        ClientConfig::new(capabilities, Implementation::new(self.name, "1"))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(serde_json::from_value(json!({
            "role": "assistant", "content": { "type": "text", "text": "hi" }, "model": self.name,
        }))
        .unwrap())
    }

    async fn create_elicitation(
        &self,
        asked: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        tokio::select! {
            () = tokio::time::sleep(self.thinks) => {}
            () = context.ct.cancelled() => *self.withdrawn.lock() += 1,
        }
        let answer = match asked {
            ElicitRequestParams::UrlElicitationParams { url, .. } => {
                self.urls.lock().push(url);
                json!({ "action": "accept" })
            }
            _ => json!({ "action": "accept", "content": { "name": self.name } }),
        };
        Ok(serde_json::from_value(answer).unwrap())
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        let root = json!({ "roots": [{ "uri": format!("file:///{}", self.name) }] });
        Ok(serde_json::from_value(root).unwrap())
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.progress.lock().push(params.progress);
    }

    async fn on_logging_message(
        &self,
        params: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.logs.lock().push(params.data);
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changes.notify_one();
    }
}

/// A tool call's parameters.
pub(crate) fn call(name: &str, arguments: Value) -> rmcp::model::CallToolRequestParams {
    let params = json!({ "name": name, "arguments": arguments });
    serde_json::from_value(params).unwrap()
}

/// The text of a result.
pub(crate) fn text(result: &rmcp::model::CallToolResult) -> String {
    let texts = result
        .content
        .iter()
        .filter_map(|content| content.as_text());
    texts.map(|text| text.text.as_str()).collect()
}
