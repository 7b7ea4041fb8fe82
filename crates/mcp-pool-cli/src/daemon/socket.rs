//! HTTP/1.1 over the daemon's Unix socket.
//!
//! Each request has a connection of its own. To open one costs some microseconds here, and one that is fresh is never a
//! connection to a daemon that has ended meanwhile: what could not be connected was certainly not sent.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

/// Where the daemon listens.
#[derive(Clone, Debug)]
pub(crate) struct Socket(PathBuf);

/// A connection, for one request. It is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: AbortOnDropHandle<()>,
}

/// A response whose body is still to be read. The connection is closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    _driver: AbortOnDropHandle<()>,
}

impl Socket {
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Connects to the daemon, which must run as this user.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::PermissionDenied`] if the socket is of another user.
    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        let stream = UnixStream::connect(&self.0).await?;
        if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
            let why = "another user listens there";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        #[allow(clippy::disallowed_methods, reason = "aborted with the connection")]
        let driver = tokio::spawn(async move {
            // The request has the error, too.
            let _ = connection.await;
        });
        Ok(Connection {
            sender,
            driver: AbortOnDropHandle::new(driver),
        })
    }
}

impl Connection {
    /// Sends the request, and returns the response when its head is there.
    ///
    /// # Errors
    /// The connection was lost: what became of the request is unknown.
    pub(crate) async fn send(mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        let response = self.sender.send_request(request).await?;
        Ok(Answer {
            response,
            _driver: self.driver,
        })
    }
}

/// A request to the daemon. The host is a formality: the socket is the address.
pub(crate) fn request(method: http::Method, path: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, "localhost")
}

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let bytes = name.bytes().map(|byte| match is_plain(&byte) {
        true => (byte as char).to_string(),
        false => format!("%{byte:02X}"),
    });
    bytes.collect()
}

/// Whether the daemon cannot have read the whole request. Where the reader of a Unix socket closes it, Linux tells one case
/// from the other: its writer gets a reset if anything was left unread, and else the end of the stream.
pub(crate) fn is_unread(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    let kind = source.map(io::Error::kind);
    error.is_canceled()
        || kind == Some(io::ErrorKind::BrokenPipe)
        || (cfg!(target_os = "linux") && kind == Some(io::ErrorKind::ConnectionReset))
}
