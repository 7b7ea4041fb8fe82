//! Messages as lines over a pair of pipes.
//!
//! rmcp has such a transport. This one differs where a pool must: a message above the limit ends the session with a
//! cause instead of leaving its call without an end, what is no message is counted, a reply that cannot be
//! understood fails its own call, and closing never waits for a server that has stopped reading.

mod framing;
mod reader;
mod unended;
mod writer;

use std::{collections::VecDeque, io, sync::Arc};

use framing::{FRAMED, Framing};
use reader::{Broken, LineReader};
use rmcp::{
    RoleClient,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::{JoinHandle, coop::consume_budget, spawn_blocking},
};
use tokio_util::task::AbortOnDropHandle;
use writer::LineWriter;

use super::inbound::is_unasked;
pub use crate::decode::DEFAULT_MAX_MESSAGE_SIZE;
use crate::{
    decode::{Incoming, LONG, read, refuse},
    exchange::{Way, is_raw},
    pace::Pace,
    transport_report::TransportReport,
};

/// A client's transport over any reader and writer.
#[derive(Debug)]
pub struct LineTransport<R, W> {
    reader: LineReader<R>,
    framing: Framing,
    writer: Arc<LineWriter<W>>,
    /// Writes what does not fit into the pipe at once.
    writing: Option<AbortOnDropHandle<()>>,
    max_message_size: usize,
    report: Arc<TransportReport>,
    /// Of messages without a request.
    pace: Pace,
    /// A long line under way, and its bytes.
    decoding: Option<(usize, JoinHandle<Incoming>)>,
    /// What is left of an array of messages.
    batch: VecDeque<(usize, Incoming)>,
    over: bool,
}

impl<R, W> LineTransport<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// A transport that ends when a line is longer than `max_message_size` bytes.
    ///
    /// Raw requests of its session go through it, too: the handshake has to be given the same report.
    pub fn new(
        reader: R,
        writer: W,
        max_message_size: usize,
        report: Arc<TransportReport>,
    ) -> Self {
        let writer = LineWriter::new(writer);
        report
            .exchange()
            .connect(Way::Lines(Arc::clone(&writer) as _));
        Self {
            reader: LineReader::new(reader, max_message_size),
            framing: Framing::default(),
            writer,
            writing: None,
            max_message_size,
            report,
            pace: Pace::new(),
            decoding: None,
            batch: VecDeque::new(),
            over: false,
        }
    }

    /// The next message that is not the reply to a raw request.
    async fn next(&mut self) -> Result<Option<RxJsonRpcMessage<RoleClient>>, Broken> {
        loop {
            let next = match self.batch.pop_front() {
                Some(next) => Some(next),
                None => self.next_incoming().await?,
            };
            let Some((size, incoming)) = next else {
                return Ok(None);
            };
            let decoded = match incoming {
                Incoming::Reply(reply) => {
                    if !self.report.exchange().answer_raw(reply) {
                        self.pace.count(size);
                    }
                    continue;
                }
                Incoming::Batch(batch) => {
                    self.batch = batch.into();
                    continue;
                }
                Incoming::Other(decoded) => decoded,
            };
            self.report.left_out(decoded.notes);
            if let Some(message) = decoded.message {
                if is_unasked(&message, self.report.exchange()) {
                    self.pace.count(size);
                }
                self.report.size(size);
                return Ok(Some(message));
            }
            self.pace.count(size);
            if size > 0 {
                self.report.noise();
                tracing::debug!(bytes = size, "skipped a line on stdout that is no message");
            }
        }
    }

    /// The next line, read, and its bytes. Long ones are read off the runtime's workers.
    async fn next_incoming(&mut self) -> Result<Option<(usize, Incoming)>, Broken> {
        let (size, decoding) = match &mut self.decoding {
            Some(decoding) => decoding,
            none => {
                // Lines that are in the buffer already cost no wait: without this a server that writes without end
                // would keep the worker.
                consume_budget().await;
                self.pace.ready(self.report.server()).await;
                let Some(line) = self.reader.next().await? else {
                    return Ok(None);
                };
                let (size, limit) = (line.trim_ascii().len(), self.max_message_size);
                let framed = self.framing.announced(line);
                let read = move |line: &[u8]| match framed {
                    Some(length) => refuse(&line[..length], FRAMED, is_raw),
                    None => read(line, limit, is_raw),
                };
                if size <= LONG {
                    return Ok(Some((size, read(line))));
                }
                let line = self.reader.take();
                let reading = spawn_blocking(move || read(&line));
                none.insert((size, reading))
            }
        };
        let outcome = (*size, decoding.await);
        self.decoding = None;
        match outcome {
            (size, Ok(incoming)) => Ok(Some((size, incoming))),
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
        let sending = serde_json::to_vec(&item).map(|mut bytes| {
            bytes.push(b'\n');
            self.writer.send(bytes)
        });
        async move { sending?.await }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        if self.over {
            return None;
        }
        let writer = &self.writer;
        self.writing.get_or_insert_with(|| {
            #[allow(clippy::disallowed_methods, reason = "aborted with its owner")]
            AbortOnDropHandle::new(tokio::spawn(Arc::clone(writer).write_on()))
        });
        match self.next().await {
            Ok(Some(message)) => return Some(message),
            Ok(None) => {}
            Err(Broken::TooLong) => self.report.fault(format!(
                "the server sent a message of more than {} bytes (max_message_size)",
                self.max_message_size
            )),
            Err(Broken::Unreadable(error)) => self
                .report
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

impl<R, W> Drop for LineTransport<R, W> {
    /// The session that goes on holding the writer must not hold the pipe.
    fn drop(&mut self) {
        self.writer.close();
    }
}
