//! Serving, from the first request to the end of the last process.

use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::admin::Shared;

/// A status API that listens: [`Admin::bind`](crate::Admin::bind).
#[must_use = "nothing is served before `serve`"]
pub struct Bound {
    shared: Arc<Shared>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    pub(crate) fn new(shared: Arc<Shared>, listener: TcpListener, address: SocketAddr) -> Self {
        Self {
            shared,
            listener,
            address,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `end` is over, and then ends everything, in this order: `/readyz` says no, nobody new is let in, event
    /// streams end, requests under way are answered within [`Admin::grace`](crate::Admin::grace), the manager is shut
    /// down. Afterwards no process, task or connection is left.
    ///
    /// # Cancel safety
    /// Dropped, it serves no more, and the manager is not shut down.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let open = self.shared.open(Some(self.address));
        let router = self.shared.router(open);
        self.serve_router(router, end).await;
    }

    /// Serves an application instead, in which [`Admin::router`](crate::Admin::router) is nested, with the same end: the
    /// pools are there for as long as the application answers, and no longer.
    ///
    /// # Cancel safety
    /// As [`Bound::serve`].
    pub async fn serve_app(self, app: Router, end: impl Future<Output = ()>) {
        self.serve_router(app, end).await;
    }

    async fn serve_router(self, router: Router, end: impl Future<Output = ()>) {
        let Self {
            shared,
            listener,
            address,
        } = self;
        tracing::info!("status API and dashboard at http://{address}/");
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (stream, place) = accept(&listener, &places) => {
                    let connection = connection(stream, router.clone(), graceful.watcher());
                    connections.spawn(async move {
                        connection.await;
                        drop::<OwnedSemaphorePermit>(place);
                    });
                }
            }
        }
        drop(listener);
        shared.stopping.cancel();
        if timeout(shared.grace, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                "some requests took longer than {:?} and were cut off",
                shared.grace
            );
        }
        connections.shutdown().await;
        shared.manager.shutdown().await;
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.expect("the places are never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // Of one caller, who has gone already.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Too many open files, as a rule: it passes when others end.
                tracing::error!("no connection can be taken: {error}");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

async fn connection(stream: TcpStream, router: Router, watcher: Watcher) {
    // A request that never ends keeps its place for no longer than this.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!("a connection broke: {error}");
    }
}

/// Connections at a time: streams, scrapes, and people.
const MAX_CONNECTIONS: usize = 512;

/// How long a request may take to say what it wants.
const HEADERS: Duration = Duration::from_secs(10);

/// Bytes in which it must be said.
const MAX_HEADERS: usize = 64 * 1024;
