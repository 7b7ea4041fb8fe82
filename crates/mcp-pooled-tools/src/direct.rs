//! One temporary session for every call: what pooling saves, kept for comparison and for the rare call that must not
//! share.

use std::{any::Any, fmt, future::Future, sync::Arc};

use mcp_pool_core::Session;
use rmcp::{model::*, service::ServiceError};
use serde::Serialize;

use crate::{
    call::{Call, Clock, rounds},
    checking::Checked,
    error::Error,
    identity::Identity,
    lists,
    operation::Operation,
    plain::{
        list_method, params, plain_calls, plain_lists, plain_requests, request_method, schema_in,
    },
    requests,
    server::Server,
    trace::Trace,
};

/// The tools of one server, each call over a session of its own, opened before and closed after it.
///
/// The session is closed in the background: the caller does not wait for it,
/// [`ConnectionManager::shutdown`](crate::ConnectionManager::shutdown) does.
///
/// What a pool does for its callers is not done here: the circuit breaker is neither asked nor told, and no call is made
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

    plain_requests!(request_method);
    plain_lists!(list_method);
    list_method! { list_all_tools, ListToolsResult, Tool, "All tools of the server, without a cache." }
    plain_calls!();

    /// Calls a tool.
    ///
    /// # Errors
    /// As [`PooledTools::call_tool`](crate::PooledTools::call_tool).
    ///
    /// # Cancel safety
    /// As [`PooledTools::call_tool`](crate::PooledTools::call_tool).
    pub async fn call_tool(&self, params: CallToolRequestParams) -> Result<CallToolResult, Error> {
        let clock = Clock::start(self.server.settings().call_timeout);
        let checked = self.checked(&params, &clock).await?;
        let tool = &params.name;
        let operation = Operation::Tool(tool.clone());
        let (params, most) = (&params, DEFAULT_MRTR_MAX_ROUNDS);
        let request = |session: Arc<Session>, trace: Trace| async move {
            rounds::drive(&session, params, None, &trace, most).await
        };
        let response = self.run(operation, Some(clock.clone()), request).await?;
        let result = rounds::result(&self.server.name, tool, response)?;
        checked.result(&self.server, tool, result, &clock).await
    }

    /// The schema of a tool's arguments.
    ///
    /// # Errors
    /// As [`PooledTools::tool_schema`](crate::PooledTools::tool_schema).
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn tool_schema(&self, name: &str) -> Result<Arc<JsonObject>, Error> {
        schema_in(&self.list_all_tools().await?, name).map_err(|error| error.of(&self.server.name))
    }

    /// The same tools on behalf of somebody else.
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

    async fn checked(
        &self,
        params: &CallToolRequestParams,
        clock: &Clock,
    ) -> Result<Checked, Error> {
        let (identity, client) = (self.identity.as_ref(), self.client.as_ref());
        let known = || self.server.known_tools(identity, client);
        let settings = self.server.settings();
        Checked::against(known, &self.server, &settings, params, clock).await
    }

    async fn check_arguments(&self, params: &CallToolRequestParams) -> Result<Clock, Error> {
        let clock = Clock::start(self.server.settings().call_timeout);
        self.checked(params, &clock).await?;
        Ok(clock)
    }

    fn server_name(&self) -> &Arc<str> {
        &self.server.name
    }

    async fn run<T, F, R>(
        &self,
        operation: Operation,
        clock: Option<Clock>,
        request: F,
    ) -> Result<T, Error>
    where
        T: Any,
        F: Fn(Arc<Session>, Trace) -> R,
        R: Future<Output = Result<T, ServiceError>>,
    {
        let clock = clock.unwrap_or_else(|| Clock::start(self.server.settings().call_timeout));
        let secrets = self.server.dialer().secrets(self.identity.as_ref());
        let call = Call {
            server: &self.server.name,
            secrets: &secrets,
            recording: &self.server.recording,
            operation,
            clock,
        };
        let client = (self.identity.as_ref(), self.client.clone());
        call.on_temporary(&self.server, client, request).await
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
