//! One temporary session for every call: what pooling saves, kept for comparison and for the rare call that must not
//! share.

use std::{fmt, ops::Deref, sync::Arc};

use rmcp::model::ClientConfig;

use crate::{
    call,
    client::{BoxFuture, Client},
    error::Error,
    identity::Identity,
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
    server::Server,
};

/// The tools of one server, each call over a session of its own, opened before and closed after it.
///
/// The session is closed in the background: the caller does not wait for it,
/// [`ConnectionManager::shutdown`](crate::ConnectionManager::shutdown) does.
///
/// What a pool does for its callers is not done here: the circuit breaker plays no part, and no call is made
/// once more. `call_timeout` holds, and so does the limit over all pools. Where `validate` asks for it, calls are held
/// against the list of tools that the pool of the same identity has; none is fetched for it.
#[derive(Clone)]
pub struct DirectTools {
    server: Arc<Server>,
    identity: Option<Identity>,
    client: Option<ClientConfig>,
}

impl DirectTools {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            identity: None,
            client: None,
        }
    }

    /// The same tools on behalf of another identity.
    #[must_use]
    pub fn with_identity(&self, identity: Identity) -> DirectTools {
        Self {
            identity: Some(identity),
            ..self.clone()
        }
    }

    /// The same tools, to whose server sessions declare this: see
    /// [`PooledTools::with_client_info`](crate::PooledTools::with_client_info).
    #[must_use]
    pub fn with_client_info(&self, info: ClientConfig) -> DirectTools {
        Self {
            client: Some(info),
            ..self.clone()
        }
    }
}

/// Scope and replay of the options have no effect.
impl Client for DirectTools {
    fn send<'a>(
        &'a self,
        request: Request,
        options: RequestOptions,
    ) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(async move {
            let identity = options.identity.as_ref().or(self.identity.as_ref());
            let declared = options.handler.as_ref().map(|handler| handler.get_info());
            let client = (identity, declared.as_ref().or(self.client.as_ref()));
            call::on_temporary(&self.server, client, request, &options).await
        })
    }
}

impl Deref for DirectTools {
    type Target = dyn Client;

    fn deref(&self) -> &Self::Target {
        self
    }
}

impl fmt::Debug for DirectTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = self.identity.as_ref().map(Identity::name);
        f.debug_struct("DirectTools")
            .field("server", &self.server.name)
            .field("identity", &identity)
            .finish()
    }
}
