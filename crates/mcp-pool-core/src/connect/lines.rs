//! Messages as lines over a pair of pipes.
//!
//! rmcp has such a transport. This one differs where a pool must: a message above the limit ends the session with a
//! cause instead of leaving its call to wait for ever, what is no message is counted, a reply that cannot be
//! understood fails its own call, and closing never waits for a server that has stopped reading.

mod reader;

use std::{io, sync::Arc};

use reader::{Broken, LineReader};
use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::Mutex,
    task::{JoinHandle, coop::consume_budget, spawn_blocking},
};

use super::{
    decode::{Decoded, decode},
    inbound::Pace,
};
use crate::session::Findings;

/// Default limit on one message, in bytes: what rmcp allows over HTTP.
pub const DEFAULT_MAX_MESSAGE_SIZE: usize = 16 * 1024 * 1024;

/// Bytes up to which a message is decoded where it is read: the worker is not kept for a millisecond.
pub(super) const LONG: usize = 32 * 1024;

/// A client's transport over any reader and writer.
#[derive(Debug)]
pub struct LineTransport<R, W> {
    reader: LineReader<R>,
    writer: Arc<Mutex<W>>,
    max_message_size: usize,
    findings: Arc<Findings>,
    noise: Pace,
    /// A long line under way, and its bytes.
    decoding: Option<(usize, JoinHandle<Decoded>)>,
    over: bool,
}

impl<R: AsyncRead + Unpin, W> LineTransport<R, W> {
    /// A transport that ends when a line is longer than `max_message_size` bytes.
    pub fn new(reader: R, writer: W, max_message_size: usize, findings: Arc<Findings>) -> Self {
        Self {
            reader: LineReader::new(reader, max_message_size),
            writer: Arc::new(Mutex::new(writer)),
            max_message_size,
            findings,
            noise: Pace::new(),
            decoding: None,
            over: false,
        }
    }

    /// The next line that is a message, or answers one.
    async fn next(&mut self) -> Result<Option<RxJsonRpcMessage<RoleClient>>, Broken> {
        loop {
            let Some((size, decoded)) = self.next_decoded().await? else {
                return Ok(None);
            };
            self.findings.left_out(decoded.notes);
            if decoded.message.is_some() {
                self.findings.size(size);
                return Ok(decoded.message);
            }
            self.noise.count(size);
            if size > 0 {
                self.findings.noise();
                tracing::debug!(bytes = size, "skipped a line on stdout that is no message");
            }
        }
    }

    /// The next line, decoded, and its bytes. Long ones are decoded off the runtime's workers.
    async fn next_decoded(&mut self) -> Result<Option<(usize, Decoded)>, Broken> {
        let (size, decoding) = match &mut self.decoding {
            Some(decoding) => decoding,
            none => {
                // Lines that are in the buffer already cost no wait: without this a server that writes without end
                // would keep the worker.
                consume_budget().await;
                self.noise.ready().await;
                let Some(line) = self.reader.next().await? else {
                    return Ok(None);
                };
                let (size, limit) = (line.trim_ascii().len(), self.max_message_size);
                if size <= LONG {
                    return Ok(Some((size, decode(line, limit))));
                }
                let line = self.reader.take();
                none.insert((size, spawn_blocking(move || decode(&line, limit))))
            }
        };
        let outcome = (*size, decoding.await);
        self.decoding = None;
        match outcome {
            (size, Ok(decoded)) => Ok(Some((size, decoded))),
            (_, Err(error)) => Err(Broken::Unreadable(error.into())),
        }
    }
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
        if self.over {
            return None;
        }
        match self.next().await {
            Ok(Some(message)) => return Some(message),
            Ok(None) => {}
            Err(Broken::TooLong) => self.findings.fault(format!(
                "the server sent a message of more than {} bytes (max_message_size)",
                self.max_message_size
            )),
            Err(Broken::Unreadable(error)) => self
                .findings
                .fault(format!("the server's stdout could not be read: {error}")),
        }
        self.over = true;
        None
    }

    /// Returns at once: the pipes close when the transport is dropped, and a writer that is stuck on a full pipe
    /// would never let go of them here.
    async fn close(&mut self) -> Result<(), Self::Error> {
        self.over = true;
        Ok(())
    }
}
