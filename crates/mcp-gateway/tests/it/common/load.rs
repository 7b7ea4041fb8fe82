//! Clients that call without a pause.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use mcp_testkit::process::wait_until;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    LONG,
    edge::body,
    raw::{Legacy, modern},
};

/// A client of either era.
#[derive(Clone)]
pub(crate) enum Caller {
    Legacy(Legacy),
    Modern(Client, String),
}

impl Caller {
    pub(crate) async fn legacy(url: &str) -> Self {
        Self::Legacy(Legacy::open(url, json!({})).await)
    }

    pub(crate) fn modern(url: &str) -> Self {
        Self::Modern(Client::new(), url.to_owned())
    }

    /// The message that answers the request.
    pub(crate) async fn send(&self, id: u64, method: &str, params: Value) -> Value {
        let response = match self {
            Self::Legacy(client) => client.send(id, method, params).await,
            Self::Modern(http, url) => modern(http, url, id, method, params).await,
        };
        body(response).await
    }

    pub(crate) async fn call(&self, id: u64, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        self.send(id, "tools/call", params).await
    }
}

/// Callers that call until they are stopped.
pub(crate) struct Load {
    callers: JoinSet<()>,
    over: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
}

impl Load {
    /// Each client calls each of these echo tools, side by side. A call that fails ends the caller by a panic.
    pub(crate) fn on(clients: &[Caller], tools: &[&str]) -> Self {
        let (over, calls) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut callers = JoinSet::new();
        let mut id = 1_000;
        for client in clients {
            for tool in tools {
                let (client, tool) = (client.clone(), (*tool).to_owned());
                let (over, calls) = (Arc::clone(&over), Arc::clone(&calls));
                id += 1;
                callers.spawn(async move {
                    while !over.load(Relaxed) {
                        let number = AtomicU64::fetch_add(&calls, 1, Relaxed);
                        let message = format!("{id} {number}");
                        let reply = client.call(id, &tool, json!({ "message": message })).await;
                        let said = &reply["result"]["content"][0]["text"];
                        assert_eq!(*said, message, "{tool}: {reply}");
                    }
                });
            }
        }
        Self {
            callers,
            over,
            calls,
        }
    }

    /// Every caller has had an answer or two since.
    pub(crate) async fn goes_on(&self) {
        let goal = self.calls.load(Relaxed) + 3 * self.callers.len() as u64;
        assert!(wait_until(LONG, || self.calls.load(Relaxed) >= goal).await);
    }

    /// Stops. No call has failed.
    pub(crate) async fn end(mut self) {
        self.over.store(true, Relaxed);
        while let Some(caller) = self.callers.join_next().await {
            caller.unwrap();
        }
    }
}
