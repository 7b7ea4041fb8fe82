//! Servers that write the bytes of a test.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]

use mcp_pool_core::{Connected, Connector, Handshake, OpenError, connect::BoxFuture};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

use super::over_pipe;

/// A legacy server in this process: a function from each message, but those of the handshake, to the text that it writes.
pub(crate) struct Raw<F>(pub(crate) F);

impl<F> Connector for Raw<F>
where
    F: Fn(&Value) -> Vec<u8> + Clone + Send + Sync + 'static,
{
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            tokio::spawn(serve(theirs, self.0.clone()));
            over_pipe(ours, handshake).await
        })
    }
}

async fn serve(stream: DuplexStream, answer: impl Fn(&Value) -> Vec<u8>) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let message: Value = serde_json::from_str(&line).expect("the client writes JSON");
        let id = &message["id"];
        let bytes = match message["method"].as_str() {
            Some("server/discover") => line_of(&json!({
                "jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "not found"},
            })),
            Some("initialize") => line_of(&json!({"jsonrpc": "2.0", "id": id, "result": {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "raw", "version": "1"},
            }})),
            Some("notifications/initialized") => continue,
            _ => answer(&message),
        };
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// One message as it is written.
pub(crate) fn line_of(message: &Value) -> Vec<u8> {
    format!("{message}\n").into_bytes()
}

/// The reply to a request.
pub(crate) fn reply(request: &Value, result: &Value) -> Vec<u8> {
    line_of(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
}
