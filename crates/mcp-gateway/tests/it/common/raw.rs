//! A client that is no more than its HTTP requests.

use reqwest::{Client, RequestBuilder, Response, header::HeaderMap};
use serde_json::{Value, json};

/// A legacy client.
#[derive(Clone)]
pub(crate) struct Legacy {
    pub(crate) http: Client,
    pub(crate) url: String,
    pub(crate) session: String,
}

impl Legacy {
    /// Initializes, with these capabilities.
    pub(crate) async fn open(url: &str, capabilities: Value) -> Self {
        let http = Client::new();
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities,
            "clientInfo": { "name": "raw", "version": "1" },
        });
        let response = post(&http, url)
            .json(&request(0, "initialize", params))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let session = response.headers()["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned();
        Self {
            http,
            url: url.to_owned(),
            session,
        }
    }

    pub(crate) fn post(&self) -> RequestBuilder {
        post(&self.http, &self.url)
            .header("mcp-session-id", &self.session)
            .header("mcp-protocol-version", "2025-11-25")
    }

    pub(crate) async fn send(&self, id: u64, method: &str, params: Value) -> Response {
        let body = request(id, method, params);
        self.post().json(&body).send().await.unwrap()
    }

    pub(crate) async fn call(&self, id: u64, tool: &str, arguments: Value) -> Response {
        let params = json!({ "name": tool, "arguments": arguments });
        self.send(id, "tools/call", params).await
    }

    pub(crate) async fn notify(&self, method: &str, params: Value) {
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        let sent = self.post().json(&body).send().await.unwrap();
        assert_eq!(sent.status(), 202);
    }

    /// The stream for messages that belong to no call.
    pub(crate) async fn listen(&self) -> Events {
        let response = self
            .http
            .get(&self.url)
            .header("mcp-session-id", &self.session)
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        Events::of(response)
    }
}

/// Sends a request as a modern client does.
pub(crate) async fn modern(
    http: &Client,
    url: &str,
    id: u64,
    method: &str,
    params: Value,
) -> Response {
    modern_request(http, url, id, method, params)
        .send()
        .await
        .unwrap()
}

pub(crate) fn modern_request(
    http: &Client,
    url: &str,
    id: u64,
    method: &str,
    mut params: Value,
) -> RequestBuilder {
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "raw", "version": "1" });
    if meta
        .get("io.modelcontextprotocol/clientCapabilities")
        .is_none()
    {
        let all = json!({ "elicitation": { "form": {} }, "sampling": {}, "roots": {} });
        meta["io.modelcontextprotocol/clientCapabilities"] = all;
    }
    let mut sending = post(http, url)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
        sending = sending.header("mcp-name", name);
    }
    sending.json(&request(id, method, params))
}

pub(crate) fn post(http: &Client, url: &str) -> RequestBuilder {
    http.post(url)
        .header("accept", "application/json, text/event-stream")
        .header("content-type", "application/json")
}

pub(crate) fn request(id: u64, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    headers["content-type"] == "application/json"
}

/// The messages of an event stream.
pub(crate) struct Events {
    response: Response,
    rest: String,
}

impl Events {
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self {
            response,
            rest: String::new(),
        }
    }

    /// The next event as it is written, comments too; `None` at the end.
    pub(crate) async fn next_raw(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.rest = rest;
                return Some(event);
            }
            let chunk = self.response.chunk().await.ok()??;
            self.rest.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            let event = self.next_raw().await?;
            let data: Vec<_> = event
                .lines()
                .filter_map(|line| line.strip_prefix("data: "))
                .collect();
            if !data.is_empty() {
                return Some(serde_json::from_str(&data.join("\n")).unwrap());
            }
        }
    }
}
