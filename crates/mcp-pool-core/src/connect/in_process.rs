//! Connector for servers in the same process, over an in-memory pipe: for tests, and for embedding.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rmcp::{ServerHandler, ServiceExt};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf, ReadHalf};
use tokio_util::task::AbortOnDropHandle;

use super::{BoxFuture, Connected, Connector, Handshake, lines::LineTransport};
use crate::{error::OpenError, transport_report::TransportReport};

/// Bytes that may be under way in either direction. The buffers grow to this and keep it; rmcp's server takes no more
/// in one read, so more would not spare a wake-up.
const PIPE_CAPACITY: usize = 8 * 1024;

/// Starts a server of its own for every session.
pub struct InProcess<F> {
    make: F,
    max_message_size: usize,
}

impl<S, F> InProcess<F>
where
    S: ServerHandler,
    F: Fn() -> S + Send + Sync + 'static,
{
    /// Serves every session by what `make` returns.
    pub fn new(make: F) -> Self {
        Self {
            make,
            max_message_size: super::lines::DEFAULT_MAX_MESSAGE_SIZE,
        }
    }

    /// Limits one message to this many bytes (default 16 MiB).
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }
}

impl<S, F> Connector for InProcess<F>
where
    S: ServerHandler,
    F: Fn() -> S + Send + Sync + 'static,
{
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(PIPE_CAPACITY);
            let server = (self.make)();
            #[allow(
                clippy::disallowed_methods,
                reason = "owned by the transport below, and ends with it"
            )]
            let serving = tokio::spawn(async move {
                if let Ok(running) = server.serve(theirs).await {
                    let _ = running.waiting().await;
                }
            });
            let report = Arc::new(TransportReport::default());
            let (reader, writer) = tokio::io::split(ours);
            let reader = Served {
                reader,
                _serving: AbortOnDropHandle::new(serving),
            };
            let transport =
                LineTransport::new(reader, writer, self.max_message_size, Arc::clone(&report));
            handshake.perform(transport, report).await
        })
    }
}

/// The reading half of a pipe, and the server at its other end, which ends with it.
struct Served {
    reader: ReadHalf<DuplexStream>,
    _serving: AbortOnDropHandle<()>,
}

impl AsyncRead for Served {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl<F> fmt::Debug for InProcess<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}
