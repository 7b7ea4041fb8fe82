//! The gateway: its settings, its routes, and its life.

use std::{fmt, sync::Arc};

use axum::{
    Router,
    http::StatusCode,
    routing::{MethodRouter, any},
};
use mcp_http_server::{Listener, Server, Shutdown};
use mcp_pooled_tools::ConnectionManager;

use crate::error::Error;

/// Many servers behind one address. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    manager: ConnectionManager,
    shutdown: Shutdown,
}

/// Settings of a [`Gateway`].
#[must_use = "nothing is served before `build`"]
pub struct GatewayBuilder {
    manager: ConnectionManager,
}

impl Gateway {
    /// A gateway to the servers of this manager.
    pub fn builder(manager: ConnectionManager) -> GatewayBuilder {
        GatewayBuilder { manager }
    }

    /// The routes, to be merged into an application: `/mcp`, `/mcp/s/{server}` and `/mcp/p/{profile}`.
    pub fn router(&self) -> Router {
        let endpoint = || -> MethodRouter { any(async || StatusCode::NOT_IMPLEMENTED) };
        Router::new()
            .route("/mcp", endpoint())
            .route("/mcp/s/{server}", endpoint())
            .route("/mcp/p/{profile}", endpoint())
    }

    /// Serves until `end` completes, and then ends: calls in flight are answered, streams end, the manager is shut down.
    ///
    /// # Cancel safety
    /// If it is dropped, all connections are closed at once and the manager is not shut down.
    pub async fn serve(&self, listener: impl Into<Listener>, end: impl Future<Output = ()>) {
        Server::new()
            .listen(listener)
            .shutdown(self.0.shutdown.clone())
            .serve(self.router(), end)
            .await;
        self.0.manager.shutdown().await;
    }
}

impl GatewayBuilder {
    /// The gateway.
    ///
    /// # Errors
    /// [`Error::KeyFile`], [`Error::Setting`].
    pub fn build(self) -> Result<Gateway, Error> {
        Ok(Gateway(Arc::new(Inner {
            manager: self.manager,
            shutdown: Shutdown::new(),
        })))
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayBuilder").finish_non_exhaustive()
    }
}
