//! Connections that acknowledge at once what they receive.
//!
//! A server that does not set `TCP_NODELAY` and answers in two writes, head and body, has the second write held back by
//! Nagle's algorithm until the first is acknowledged. Linux delays that acknowledgement by 40 ms on a connection in steady
//! use. rmcp's own server under `axum::serve` is of that kind (bench B6, without NODELAY). `TCP_QUICKACK` ends the delay,
//! and the kernel forgets the option, so it is set again after each read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tower::{ServiceExt, util::MapResponse};

/// An HTTP client without TLS, proxies and redirects.
pub(super) type PlainClient = legacy::Client<QuickAckConnector, reqwest::Body>;

type QuickAckConnector = MapResponse<HttpConnector, fn(TokioIo<TcpStream>) -> QuickAckStream>;

/// A client whose connections are kept for `idle`.
pub(super) fn plain_client(idle: Duration) -> PlainClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    // As reqwest has it.
    connector.set_keepalive(Some(Duration::from_secs(15)));
    connector.set_keepalive_interval(Some(Duration::from_secs(15)));
    connector.set_keepalive_retries(Some(3));
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(Duration::from_secs(30)));
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle)
        .build(connector.map_response(QuickAckStream))
}

#[derive(Debug)]
pub(super) struct QuickAckStream(TokioIo<TcpStream>);

impl Read for QuickAckStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.0).poll_read(context, buffer));
        // Without it the connection is only slower.
        #[cfg(target_os = "linux")]
        let _ = self.0.inner().set_quickack(true);
        Poll::Ready(read)
    }
}

impl Write for QuickAckStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }
}

impl Connection for QuickAckStream {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}
