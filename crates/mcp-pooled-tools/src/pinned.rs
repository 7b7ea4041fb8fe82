//! A session that one caller holds for many calls.

use std::{fmt, ops::Deref, sync::Arc};

use mcp_pool_core::Session;
use rmcp::model::ServerPeerInfo;

use crate::{
    call::{self, HeldRoute},
    client::{BoxFuture, Client},
    error::Error,
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
    scope::ScopeHandle,
    server::{Server, ServerPool, Snapshot},
};

/// A session held by one caller. Dropping it gives it back.
///
/// Derefs to [`Client`]. Calls have the same deadlines and errors as those of [`PooledTools`](crate::PooledTools). When the session
/// breaks, they fail; it is not replaced under its owner, whose state on the server is gone.
pub struct PinnedSession {
    session: mcp_pool_core::PinnedLease,
    /// Of the pool that the session is from, which another may have replaced by now.
    snapshot: Arc<Snapshot>,
    server: Arc<Server>,
    pool: Arc<ServerPool>,
    scope: ScopeHandle,
}

impl PinnedSession {
    pub(crate) fn new(
        (session, snapshot): (mcp_pool_core::PinnedLease, Arc<Snapshot>),
        server: Arc<Server>,
        pool: Arc<ServerPool>,
        scope: ScopeHandle,
    ) -> Self {
        Self {
            session,
            snapshot,
            server,
            pool,
            scope,
        }
    }

    /// Whether the session has ended. It is not replaced.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.session.session().has_ended()
    }

    /// What the server said of itself.
    #[must_use]
    pub fn peer_info(&self) -> Option<Arc<ServerPeerInfo>> {
        self.session.peer_info()
    }

    /// The session itself, with everything else the plain client can do, without deadlines.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        self.session.session()
    }
}

/// Scope and identity are the session's, whatever the options say, and requests are not repeated.
impl Client for PinnedSession {
    fn send<'a>(
        &'a self,
        request: Request,
        options: RequestOptions,
    ) -> BoxFuture<'a, Result<Reply, Error>> {
        let held = HeldRoute {
            server: &self.server,
            pool: &self.pool,
            scope: &self.scope,
            session: &self.session,
            breaker: self.snapshot.circuit.breaker(),
            settings: &self.snapshot.settings,
        };
        Box::pin(async move { call::on_held(&held, request, &options).await })
    }
}

impl Deref for PinnedSession {
    type Target = dyn Client;

    fn deref(&self) -> &Self::Target {
        self
    }
}

impl fmt::Debug for PinnedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedSession")
            .field("server", &self.pool.server)
            .field("session", &self.session.id())
            .finish()
    }
}
