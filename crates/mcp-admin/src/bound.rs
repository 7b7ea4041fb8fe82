//! Serving, from the first request to the end of the last process.

use std::{
    convert::Infallible, fmt, future::Future, io, net::SocketAddr, pin::pin, sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    admin::Shared,
    body::Guarded,
    patience::Impatient,
    places::{MOST, Place, Places},
    problem::Problem,
};

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

    /// Serves until `end` is over, and then ends everything, in this order: `/readyz` says no, for
    /// [`Admin::drain_delay`](crate::Admin::drain_delay) everybody is served still, nobody new is let in, event streams
    /// end, requests under way are answered within [`Admin::grace`](crate::Admin::grace), the manager is shut down.
    /// Afterwards no process, task or connection is left.
    ///
    /// # Cancel safety
    /// Dropped, it serves no more, and the manager is not shut down.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let open = self.shared.open(Some(self.address));
        let router = self.shared.router(open);
        self.serve_router(router, end).await;
    }

    /// Serves an application instead, in which the [`router`](crate::Admin::router) of this very
    /// [`Admin`](crate::Admin) (or a clone) is nested, with the same end: the pools are there for as long as the
    /// application answers, and no longer.
    ///
    /// It speaks HTTP/1.1, upgrades (WebSockets) too, and takes at most 512 connections at a time: the one that is idle for
    /// longest gives way to a new one, and if none is idle, a few more are answered if they ask for `/healthz` or
    /// `/readyz`. Who called (`ConnectInfo`) is not told to the application.
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
        let places = Places::default();
        let (leaving, delay) = (shared.leaving.clone(), shared.drain_delay);
        let end = async move {
            end.await;
            leaving.cancel();
            sleep(delay).await;
        };
        let mut connections = JoinSet::new();
        let mut full = false;
        let mut end = pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                stream = accept(&listener) => {
                    let place = places.take();
                    // Once for each time that it is so, however many are refused.
                    if !std::mem::replace(&mut full, place.is_none()) && full {
                        tracing::warn!("connections are refused: {MOST} have requests under way");
                    }
                    let Some(place) = place else { continue };
                    let (idle, stopping) = (shared.idle_timeout, shared.stopping.clone());
                    connections.spawn(connection(stream, place, router.clone(), idle, stopping));
                }
            }
        }
        shared.stopping.cancel();
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(shared.grace, ended).await.is_err() {
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

/// The next connection.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
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

async fn connection(
    stream: TcpStream,
    place: Place,
    router: Router,
    idle_timeout: Duration,
    stopping: CancellationToken,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("a connection goes without TCP_NODELAY: {error}");
    }
    let stream = Impatient::new(stream, stopping.clone());
    let place = Arc::new(place);
    let evicted = place.evicted.clone();
    let service = service_fn(|request| answer(&place, router.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // Nothing is under way on it.
        () = evicted.cancelled() => return,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection broke: {error}");
    }
}

/// Answers a request. The connection is busy until the last byte of the answer is written or dropped.
async fn answer(
    place: &Arc<Place>,
    router: Router,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let busy = place.request();
    let path = request.uri().path();
    let is_probe = path.ends_with("/healthz") || path.ends_with("/readyz");
    let response = if place.only_probes && !is_probe {
        let detail = format!("{MOST} connections have requests under way; try again later");
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        ([(header::CONNECTION, "close")], problem).into_response()
    } else {
        router.oneshot(request).await?
    };
    Ok(response.map(|body| Body::new(Guarded::new(body, busy))))
}
