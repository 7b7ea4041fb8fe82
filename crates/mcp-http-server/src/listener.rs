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
    /// A Unix socket for processes of one user, by its id: connections of others are closed before anything is read. Its
    /// file is the caller's to remove.
    #[cfg(unix)]
    UnixOfUser(tokio::net::UnixListener, u32),
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
            #[cfg(unix)]
            Self::UnixOfUser(listener, user) => {
                let (stream, _) = ready!(listener.poll_accept(context))?;
                let peer = stream.peer_cred()?.uid();
                if peer != *user {
                    tracing::warn!(
                        "a connection of user {peer} was refused: the socket is for user {user}"
                    );
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
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

#[cfg(all(test, unix))]
mod tests {
    use std::future::poll_fn;

    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    #[tokio::test]
    async fn a_socket_of_one_user_refuses_the_processes_of_others() {
        let path =
            std::env::temp_dir().join(format!("mcp-http-server-{}.sock", std::process::id()));
        // One of an earlier run.
        let _ = std::fs::remove_file(&path);
        let socket = UnixListener::bind(&path).unwrap();
        let first = UnixStream::connect(&path).await.unwrap();
        let own = first.peer_cred().unwrap().uid();
        let listener = Listener::UnixOfUser(socket, own);
        let accepted = poll_fn(|context| listener.poll_accept(context)).await;
        assert_eq!(accepted.map(|(_, peer)| peer).unwrap(), Peer::Unix);
        let Listener::UnixOfUser(socket, _) = listener else {
            unreachable!("it is one");
        };
        let listener = Listener::UnixOfUser(socket, own + 1);
        let _second = UnixStream::connect(&path).await.unwrap();
        let refused = poll_fn(|context| listener.poll_accept(context)).await;
        let kind = refused.map(drop).unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::ConnectionAborted);
        std::fs::remove_file(&path).unwrap();
    }
}
