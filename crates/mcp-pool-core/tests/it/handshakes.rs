//! Opening a session with servers that do not take a handshake as the specification says.

mod batches;
mod fallback;
mod over_http;
mod replies;
mod slow_starts;
mod versions;

use crate::common;
use std::{sync::Arc, time::Duration};

use common::{assert_balanced, attempt_failed, observed, over_pipe, pool_of, quiet, quiet_with};
use mcp_pool_core::{
    AcquireError, Connected, Connector, Era, EraMemory, Handshake, LifecycleMode, OpenError,
    OpenErrorKind, Phase, PoolOptions, SessionHandler, SessionPool, connect::BoxFuture,
    rmcp::model::ProtocolVersion,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::{Instant, sleep},
};

/// What a server does about a message.
enum Act {
    Send(Value),
    Wait(Duration),
    End,
}

type Script = dyn Fn(usize, &Value) -> Vec<Act> + Send + Sync;

/// Connects to servers that answer line by line as a script says. It is given the number of the connection, from 1.
#[derive(Clone)]
struct Wire {
    script: Arc<Script>,
    connections: Arc<Mutex<usize>>,
    /// Every message, with the number of its connection.
    heard: Arc<Mutex<Vec<(usize, Value)>>>,
}

impl Wire {
    fn new(script: impl Fn(usize, &Value) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            connections: Arc::default(),
            heard: Arc::default(),
        }
    }

    /// A script for the handshake's first request alone; `initialize` is answered as it should be.
    fn discovering(discover: impl Fn(&Value) -> Vec<Act> + Send + Sync + 'static) -> Self {
        Self::new(move |_, message| match method(message) {
            "server/discover" => discover(message),
            _ => legacy(message),
        })
    }

    fn heard(&self) -> Vec<(usize, String)> {
        let heard = self.heard.lock();
        let methods = heard.iter().map(|(at, message)| (*at, method(message)));
        methods.map(|(at, method)| (at, method.into())).collect()
    }

    fn offered(&self) -> Vec<Value> {
        let heard = self.heard.lock();
        let initialize = heard.iter().filter(|(_, m)| method(m) == "initialize");
        initialize
            .map(|(_, message)| message["params"]["protocolVersion"].clone())
            .collect()
    }
}

impl Connector for Wire {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let number = {
                let mut connections = self.connections.lock();
                *connections += 1;
                *connections
            };
            let (script, heard) = (Arc::clone(&self.script), Arc::clone(&self.heard));
            tokio::spawn(async move {
                let (reader, mut writer) = tokio::io::split(theirs);
                let mut lines = BufReader::new(reader).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let message: Value = serde_json::from_str(&line).unwrap();
                    heard.lock().push((number, message.clone()));
                    for act in script(number, &message) {
                        match act {
                            Act::Send(value) => {
                                let line = format!("{value}\n");
                                let _ = writer.write_all(line.as_bytes()).await;
                            }
                            Act::Wait(time) => sleep(time).await,
                            Act::End => return,
                        }
                    }
                }
            });
            over_pipe(ours, handshake).await
        })
    }
}

fn method(message: &Value) -> &str {
    message["method"].as_str().unwrap_or_default()
}

fn reply(message: &Value, result: Value) -> Vec<Act> {
    vec![Act::Send(
        json!({"jsonrpc": "2.0", "id": message["id"], "result": result}),
    )]
}

fn refuse(message: &Value, code: i32, text: &str) -> Vec<Act> {
    let error = json!({"code": code, "message": text});
    vec![Act::Send(
        json!({"jsonrpc": "2.0", "id": message["id"], "error": error}),
    )]
}

fn initialized(version: &str) -> Value {
    json!({"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}})
}

fn discovered(versions: &[&str]) -> Value {
    json!({
        "resultType": "complete", "supportedVersions": versions, "capabilities": {"tools": {}},
        "ttlMs": 0, "cacheScope": "public",
    })
}

/// A server of the legacy era that behaves.
fn legacy(message: &Value) -> Vec<Act> {
    match method(message) {
        "initialize" => reply(message, initialized("2025-11-25")),
        _ if message["id"].is_null() => Vec::new(),
        _ => refuse(message, -32601, "Method not found"),
    }
}

/// A server of the modern era that behaves.
fn modern(message: &Value) -> Vec<Act> {
    match method(message) {
        "server/discover" => reply(message, discovered(&["2026-07-28"])),
        _ if message["id"].is_null() => Vec::new(),
        _ => refuse(message, -32601, "Method not found"),
    }
}

async fn open(wire: &Wire) -> (SessionPool, Era) {
    open_with(wire, quiet()).await
}

async fn open_with(wire: &Wire, options: PoolOptions) -> (SessionPool, Era) {
    let pool = pool_of(wire.clone(), options);
    let lease = pool.acquire().await.unwrap();
    let era = lease.session().era();
    drop(lease);
    assert_balanced(&pool);
    (pool, era)
}

async fn failure(wire: &Wire) -> Arc<OpenError> {
    let options = quiet_with(|options| options.retry_attempts = 3);
    match pool_of(wire.clone(), options).acquire().await.unwrap_err() {
        AcquireError::Open { cause, .. } => cause,
        other => panic!("not a failed opening: {other:?}"),
    }
}
