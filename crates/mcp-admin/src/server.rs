//! The status API's own listener, from the first request to the end of the last process.

use std::{fmt, future::Future, net::SocketAddr, sync::Arc};

use axum::Router;
use mcp_http_server::Server;
use tokio::net::TcpListener;

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

    /// Serves until `end` completes, and then ends in this order: `/readyz` answers 503 and requests are served for
    /// [`Admin::drain_delay`](crate::Admin::drain_delay); no more connections are accepted and event streams end; requests
    /// under way are answered within [`Admin::grace`](crate::Admin::grace); the manager is shut down. No process, task or
    /// connection remains.
    ///
    /// # Cancel safety
    /// If it is dropped, all connections are closed at once and the manager is not shut down.
    pub async fn serve(self, end: impl Future<Output = ()>) {
        let open = self.shared.open(Some(self.address));
        let router = self.shared.router(open);
        self.serve_app(router, end).await;
    }

    /// Serves an application instead, in which the [`router`](crate::Admin::router) of this [`Admin`](crate::Admin) or a
    /// clone is nested. It ends in the same order, so that the pools are there as long as the application answers.
    ///
    /// The limits are those of [`mcp_http_server::Server`], without one on bodies. Each request has its
    /// [`Peer`](mcp_http_server::Peer) as an extension; axum's `ConnectInfo` is not available.
    ///
    /// # Cancel safety
    /// As [`Bound::serve`].
    pub async fn serve_app(self, app: Router, end: impl Future<Output = ()>) {
        tracing::info!("status API and dashboard at http://{}/", self.address);
        let shared = self.shared;
        Server::new()
            .listen(self.listener)
            .shutdown(shared.shutdown.clone())
            .idle_timeout(shared.idle_timeout)
            // An application limits its bodies by itself.
            .max_body_size(usize::MAX)
            .drain_delay(shared.drain_delay)
            .grace(shared.grace)
            .serve(app, end)
            .await;
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
