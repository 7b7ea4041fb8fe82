//! Messages as lines over a pair of pipes.
//!
//! rmcp has such a transport. This one differs where a pool must: a message above the limit ends the session with a
//! cause instead of leaving its call to wait for ever, what is no message is counted, a reply that cannot be
//! understood fails its own call, and closing never waits for a server that has stopped reading.

use std::{io, sync::Arc};

use rmcp::{
    RoleClient,
    model::{ErrorData, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::Mutex,
};

use crate::session::Findings;

/// Default limit on one message, in bytes: what rmcp allows over HTTP.
pub const DEFAULT_MAX_MESSAGE_SIZE: usize = 16 * 1024 * 1024;

/// A client's transport over any reader and writer.
#[derive(Debug)]
pub struct LineTransport<R, W> {
    reader: BufReader<R>,
    writer: Arc<Mutex<W>>,
    /// Bytes of the line being read. Kept here, not in `receive`, which is dropped and called again at will.
    line: Vec<u8>,
    max_message_size: usize,
    findings: Arc<Findings>,
    over: bool,
}

impl<R: AsyncRead + Unpin, W> LineTransport<R, W> {
    /// A transport that ends when a line is longer than `max_message_size` bytes.
    pub fn new(reader: R, writer: W, max_message_size: usize, findings: Arc<Findings>) -> Self {
        Self {
            reader: BufReader::with_capacity(16 * 1024, reader),
            writer: Arc::new(Mutex::new(writer)),
            line: Vec::new(),
            max_message_size,
            findings,
            over: false,
        }
    }

    /// Reads on until `self.line` holds a whole line; `false` at the end of the stream.
    async fn read_line(&mut self) -> bool {
        loop {
            let available = match self.reader.fill_buf().await {
                Ok(available) if !available.is_empty() => available,
                Ok(_) => return false,
                Err(error) => {
                    self.findings
                        .fault(format!("the server's stdout could not be read: {error}"));
                    return false;
                }
            };
            let newline = available.iter().position(|byte| *byte == b'\n');
            let take = newline.map_or(available.len(), |at| at + 1);
            if self.line.len() + take > self.max_message_size.saturating_add(1) {
                self.findings.fault(format!(
                    "the server sent a message of more than {} bytes (max_message_size)",
                    self.max_message_size
                ));
                return false;
            }
            // No await between copying and consuming: a dropped `receive` loses nothing.
            self.line.extend_from_slice(&available[..take]);
            self.reader.consume(take);
            if newline.is_some() {
                return true;
            }
        }
    }

    fn parse(&self) -> Option<RxJsonRpcMessage<RoleClient>> {
        const BOM: &[u8] = b"\xEF\xBB\xBF";
        let line = self
            .line
            .strip_prefix(BOM)
            .unwrap_or(&self.line)
            .trim_ascii();
        if line.is_empty() {
            return None;
        }
        match serde_json::from_slice(line) {
            Ok(message) => Some(message),
            Err(error) => {
                let failed = unintelligible_reply(line, &error);
                if failed.is_none() {
                    self.findings.noise();
                    tracing::debug!(
                        bytes = line.len(),
                        "skipped a line on stdout that is no message"
                    );
                }
                failed
            }
        }
    }
}

/// A reply that does not parse still answers its request: with an error, at once, and not with silence.
fn unintelligible_reply(
    line: &[u8],
    error: &serde_json::Error,
) -> Option<RxJsonRpcMessage<RoleClient>> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    if value.get("jsonrpc")? != "2.0" || value.get("method").is_some() {
        return None;
    }
    let id: RequestId = serde_json::from_value(value.get("id")?.clone()).ok()?;
    let error = ErrorData::internal_error(
        format!("the server's reply could not be understood: {error}"),
        None,
    );
    Some(JsonRpcMessage::error(error, Some(id)))
}

impl<R, W> Transport<RoleClient> for LineTransport<R, W>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let writer = Arc::clone(&self.writer);
        async move {
            let mut bytes = serde_json::to_vec(&item)?;
            bytes.push(b'\n');
            let mut writer = writer.lock().await;
            writer.write_all(&bytes).await?;
            writer.flush().await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        while !self.over {
            if !self.read_line().await {
                self.over = true;
                break;
            }
            let message = self.parse();
            self.line.clear();
            // A rare large message must not hold its memory for the life of the session.
            self.line.shrink_to(64 * 1024);
            if message.is_some() {
                return message;
            }
        }
        None
    }

    /// Returns at once: the pipes close when the transport is dropped, and a writer that is stuck on a full pipe
    /// would never let go of them here.
    async fn close(&mut self) -> Result<(), Self::Error> {
        self.over = true;
        Ok(())
    }
}
