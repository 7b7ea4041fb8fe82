//! Sockets that accept connections: TCP, and Unix sockets beside it.

use std::{
    io,
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};

/// A socket that accepts connections.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// A TCP socket.
    Tcp(TcpListener),
    /// A Unix socket. Its file is the caller's to remove.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// The other side of a connection: an extension of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP connection from this address. Behind a proxy it is the proxy's.
    Tcp(SocketAddr),
    /// A process on this machine that may open the socket's file.
    Unix,
}

/// An accepted connection.
pub(crate) type Stream = Box<dyn ReadWrite>;

pub(crate) trait ReadWrite: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ReadWrite for T {}

impl Listener {
    pub(crate) fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Stream, Peer)>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = ready!(listener.poll_accept(context))?;
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!("a connection goes without TCP_NODELAY: {error}");
                }
                Poll::Ready(Ok((Box::new(stream), Peer::Tcp(address))))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, _) = ready!(listener.poll_accept(context))?;
                Poll::Ready(Ok((Box::new(stream), Peer::Unix)))
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

#[cfg(unix)]
impl From<tokio::net::UnixListener> for Listener {
    fn from(listener: tokio::net::UnixListener) -> Self {
        Self::Unix(listener)
    }
}
