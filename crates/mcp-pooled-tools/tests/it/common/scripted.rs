//! A legacy server whose every reply is a test's own JSON, written byte by byte.

use std::sync::Arc;

use mcp_pooled_tools::core::{
    Connected, Connector, Handshake, OpenError, TransportReport,
    connect::{BoxFuture, lines::LineTransport},
};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader, DuplexStream,
};

/// The text of the result of a request, or of its error; nothing if it is never answered.
pub type Answer = Option<Result<String, String>>;

type Script = dyn Fn(&str, &Value) -> Answer + Send + Sync;

/// A connector; clones are the same.
#[derive(Clone)]
pub struct Scripted {
    script: Arc<Script>,
    capabilities: Value,
}

impl Scripted {
    /// Answers by method and parameters. The handshake is answered by itself.
    pub fn new(
        capabilities: Value,
        script: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self {
            script: Arc::new(script),
            capabilities,
        }
    }

    fn answer(&self, method: &str, params: &Value) -> Answer {
        if method != "initialize" {
            return (self.script)(method, params);
        }
        let result = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": self.capabilities,
            "serverInfo": {"name": "scripted", "version": "1"},
            "instructions": "Follow the script.",
        });
        Some(Ok(result.to_string()))
    }

    async fn serve(self, reader: impl AsyncRead + Unpin, mut writer: impl AsyncWrite + Unpin) {
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let message: Value = serde_json::from_str(&line).unwrap();
            let (Some(method), Some(id)) = (message["method"].as_str(), message.get("id")) else {
                continue;
            };
            let answer = match (method, self.answer(method, &message["params"])) {
                ("server/discover", _) => {
                    Err(json!({"code": -32601, "message": "legacy"}).to_string())
                }
                (_, Some(answer)) => answer,
                (_, None) => continue,
            };
            let (member, answer) = match answer {
                Ok(result) => ("result", result),
                Err(error) => ("error", error),
            };
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{answer}}}\n");
            if writer.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

impl Connector for Scripted {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let (reader, writer) = tokio::io::split(theirs);
            #[allow(clippy::disallowed_methods, reason = "ends with its client")]
            tokio::spawn(self.clone().serve(reader, writer));
            over_pipe(ours, handshake).await
        })
    }
}

/// Shakes hands over one end of a pipe.
pub async fn over_pipe(pipe: DuplexStream, handshake: &Handshake) -> Result<Connected, OpenError> {
    let report = Arc::new(TransportReport::default());
    let (reader, writer) = tokio::io::split(pipe);
    let transport = LineTransport::new(reader, writer, 16 << 20, Arc::clone(&report));
    handshake.perform(transport, report).await
}
