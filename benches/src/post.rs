//! The smallest client over streamable HTTP: posts bodies and reads bodies.

use std::time::Duration;

use serde_json::{Value, json};

/// One client of a server or gateway.
#[derive(Clone)]
pub struct Post {
    client: reqwest::Client,
    url: String,
    session: String,
}

impl Post {
    /// A client with connections of its own that has initialized.
    pub async fn initialized(url: &str) -> Self {
        let client = reqwest::Client::builder()
            .tcp_nodelay(true)
            // Before a server closes a connection that is not used while others are measured: some do after 5 s.
            .pool_idle_timeout(Duration::from_secs(2))
            .build();
        Self::initialized_over(client.expect("a client can be made"), url).await
    }

    /// The same, over these connections.
    pub async fn initialized_over(client: reqwest::Client, url: &str) -> Self {
        let mut post = Self {
            client,
            url: url.to_owned(),
            session: String::new(),
        };
        let info = json!({"name": "post", "version": "1"});
        let params = json!({"protocolVersion": VERSION, "capabilities": {}, "clientInfo": info});
        let response = post.send(Self::body("initialize", &params)).await;
        let session = response.headers().get("mcp-session-id");
        let session = session.and_then(|session| session.to_str().ok());
        post.session = session.unwrap_or_default().to_owned();
        response.bytes().await.expect("it answers");
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        post.send(initialized.to_string()).await;
        post
    }

    /// The body of a request. All have the same id, for no two of a client are under way at once.
    pub fn body(method: &str, params: &Value) -> String {
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
    }

    /// The id of its session, or nothing.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Calls a tool, and returns the reply as it came.
    pub async fn tool(&self, name: &str, arguments: &Value) -> String {
        let params = json!({"name": name, "arguments": arguments});
        self.request("tools/call", &params).await
    }

    /// Sends a request, and returns the reply as it came.
    pub async fn request(&self, method: &str, params: &Value) -> String {
        let response = self.send(Self::body(method, params)).await;
        response.text().await.expect("it answers")
    }

    /// Sends a body, and returns what comes back.
    pub async fn send(&self, body: impl Into<reqwest::Body>) -> reqwest::Response {
        let request = self.client.post(&self.url).body(body);
        let request = request
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .header("mcp-protocol-version", VERSION);
        let request = match self.session.as_str() {
            "" => request,
            session => request.header("mcp-session-id", session),
        };
        request.send().await.expect("it answers")
    }
}

const VERSION: &str = "2025-11-25";
