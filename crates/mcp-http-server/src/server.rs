//! The server: its settings, its accept loop, and the order in which it ends.

use std::{
    convert::Infallible, error::Error, future::poll_fn, io, pin::pin, task::Poll, time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::Service;

use crate::{
    connection::{self, RequestBody},
    connection_limit::ConnectionLimit,
    listener::{Listener, Peer, Stream},
    shutdown::Shutdown,
};

/// Serves a [`tower::Service`], such as an axum router, over HTTP/1.1.
///
/// Sockets are given by [`listen`](Self::listen), any number of them. All share the limits.
#[derive(Debug, Default)]
#[must_use = "nothing is served before `serve`"]
pub struct Server {
    listeners: Vec<Listener>,
    shutdown: Shutdown,
    limits: Limits,
    drain_delay: Duration,
    grace: Grace,
}

/// What a connection is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) max_header_size: usize,
    pub(crate) max_body_size: usize,
}

#[derive(Debug)]
struct Grace(Duration);

impl Server {
    /// A server without a socket.
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts connections of this socket, too.
    pub fn listen(mut self, listener: impl Into<Listener>) -> Self {
        self.listeners.push(listener.into());
        self
    }

    /// The stages of the end, for requests to see. Default: one of its own.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Connections at a time, over all sockets. Default: 512. The connection idle for longest is closed in favour of a new
    /// one. If none is idle, 16 more are accepted, on which only requests for `/healthz` and `/readyz` are answered:
    /// a busy program must not look like a dead one.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.max_connections = connections;
        self
    }

    /// How long a connection may be idle between requests, and take to send the head of one. Default: 75 s, more than
    /// proxies keep theirs.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle_timeout = limit;
        self
    }

    /// How long a peer may take nothing of what is written before its connection is closed. Default: 30 s. From the end of
    /// the drain delay on it is one second.
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.limits.write_timeout = limit;
        self
    }

    /// Bytes of a request's head, at least 8 KiB. Default: 64 KiB. A longer one is answered with 431.
    pub fn max_header_size(mut self, bytes: usize) -> Self {
        self.limits.max_header_size = bytes.max(8 * 1024);
        self
    }

    /// Bytes of a request's body. Default: 16 MiB. One that is declared longer is answered with 413; to read beyond the
    /// limit is an error.
    pub fn max_body_size(mut self, bytes: usize) -> Self {
        self.limits.max_body_size = bytes;
        self
    }

    /// How long requests are served after [`Shutdown::is_draining`] has become true, so that a load balancer can notice.
    /// Default: none.
    pub fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay;
        self
    }

    /// How long requests under way may take after the drain delay. Default: 10 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Grace(grace);
        self
    }

    /// Serves until `end` completes, and then ends in this order: [`Shutdown::is_draining`] is true and requests are served
    /// for the drain delay; no more connections are accepted and [`Shutdown::stopping`] completes; requests under way are
    /// answered within the grace; what is left is closed. No task or connection of the server remains.
    ///
    /// Each request has its [`Peer`] as an extension. Upgrades, such as WebSockets, work; an upgraded connection is outside of
    /// the limits, and the application ends it at [`Shutdown::stopping`].
    ///
    /// # Cancel safety
    /// If it is dropped, all connections are closed at once.
    pub async fn serve<S, B>(self, service: S, end: impl Future<Output = ()>)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
    {
        let Self {
            listeners,
            shutdown,
            limits,
            drain_delay,
            grace: Grace(grace),
        } = self;
        let slots = ConnectionLimit::new(limits.max_connections);
        let mut connections = JoinSet::new();
        let mut full = false;
        let mut end = pin!(async {
            end.await;
            shutdown.drain();
            sleep(drain_delay).await;
        });
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (stream, peer) = accept(&listeners) => {
                    let slot = slots.take();
                    // Logged once each time that the limit is reached.
                    if !std::mem::replace(&mut full, slot.is_none()) && full {
                        let limit = limits.max_connections;
                        tracing::warn!("refusing connections: {limit} have requests under way");
                    }
                    let Some(slot) = slot else { continue };
                    let shutdown = shutdown.clone();
                    let service = service.clone();
                    connections.spawn(connection::serve(stream, peer, slot, service, limits, shutdown));
                }
            }
        }
        shutdown.stop();
        drop(listeners);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, ended).await.is_err() {
            tracing::warn!("closing requests that took longer than {grace:?}");
        }
        connections.shutdown().await;
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 512,
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            max_header_size: 64 * 1024,
            max_body_size: 16 * 1024 * 1024,
        }
    }
}

impl Default for Grace {
    fn default() -> Self {
        Self(Duration::from_secs(10))
    }
}

/// The next connection of any socket.
async fn accept(listeners: &[Listener]) -> (Stream, Peer) {
    loop {
        let accepted = poll_fn(|context| {
            for listener in listeners {
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        });
        match accepted.await {
            Ok(connection) => return connection,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Too many open files, as a rule, which passes when other connections end.
                tracing::error!("cannot accept connections: {error}; trying again in one second");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Whether the peer has gone before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
