//! One session, one owner, many calls.

use std::{any::Any, fmt, future::Future, sync::Arc};

use mcp_breaker::Breaker;
use mcp_config::EffectiveSettings;
use mcp_pool_core::Session;
use rmcp::{
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams,
        CompleteResult, GetPromptRequestParams, GetPromptResult, ListPromptsResult,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        Prompt, ReadResourceRequestParams, ReadResourceResult, Resource, ResourceTemplate,
        ServerPeerInfo, Tool,
    },
    service::ServiceError,
};
use serde::Serialize;

use crate::{
    call::{Call, CallOptions, Clock, rounds},
    checking::Checked,
    error::Error,
    lists,
    operation::Operation,
    plain::{list_method, params, plain_calls, plain_lists, plain_requests, request_method},
    requests,
    scope::ScopeHandle,
    server::{Server, ServerPool},
    trace::Trace,
};

/// A session held by one caller. Dropping it gives it back.
///
/// Calls on it have the same deadlines and errors as those of [`PooledTools`](crate::PooledTools). When the session
/// breaks, they fail; it is not replaced under its owner, whose state on the server is gone.
pub struct PinnedSession {
    session: mcp_pool_core::PinnedSession,
    /// Of the pool that the session is from, which another may have replaced by now.
    breaker: Breaker,
    server: Arc<Server>,
    pool: Arc<ServerPool>,
    settings: Arc<EffectiveSettings>,
    scope: ScopeHandle,
}

impl PinnedSession {
    pub(crate) fn new(
        (session, breaker): (mcp_pool_core::PinnedSession, Breaker),
        server: Arc<Server>,
        pool: Arc<ServerPool>,
        settings: Arc<EffectiveSettings>,
        scope: ScopeHandle,
    ) -> Self {
        Self {
            session,
            breaker,
            server,
            pool,
            settings,
            scope,
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
        self.call_tool_with(params, CallOptions::new()).await
    }

    /// Calls a tool with options of its own. Scope and identity are the session's; its calls are not repeated.
    ///
    /// # Errors
    /// As [`PooledTools::call_tool`](crate::PooledTools::call_tool).
    ///
    /// # Cancel safety
    /// As [`PooledTools::call_tool`](crate::PooledTools::call_tool).
    pub async fn call_tool_with(
        &self,
        params: CallToolRequestParams,
        options: CallOptions,
    ) -> Result<CallToolResult, Error> {
        let mut params = params;
        let clock = Clock::with(self.settings.call_timeout, &options);
        let checked = self.checked(&params, &clock).await?;
        if let Some(meta) = &options.meta {
            params.meta.get_or_insert_default().extend(meta.clone());
        }
        let sink = clock.sink(&options);
        let lent = options
            .handler
            .clone()
            .map(|handler| self.session.lend_handler(handler));
        let operation = Operation::Tool(params.name.clone());
        let (params, sink) = (&params, sink.as_ref());
        let request = |session: Arc<Session>, trace: Trace| async move {
            rounds::call_tool(&session, params, sink, &trace).await
        };
        let result = self.run(operation, Some(clock.clone()), request).await;
        if let Some(lent) = lent {
            lent.settle(clock.time_to_settle()).await;
        }
        checked
            .result(&self.server, &params.name, result?, &clock)
            .await
    }

    async fn checked(
        &self,
        params: &CallToolRequestParams,
        clock: &Clock,
    ) -> Result<Checked, Error> {
        let (server, pool, scope) = (&self.server, &self.pool, &self.scope);
        Checked::arguments(server, pool, scope, &self.settings, params, clock).await
    }

    async fn check_arguments(&self, params: &CallToolRequestParams) -> Result<Clock, Error> {
        let clock = Clock::start(self.settings.call_timeout);
        self.checked(params, &clock).await?;
        Ok(clock)
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

    fn server_name(&self) -> &Arc<str> {
        &self.pool.server
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
        let clock = clock.unwrap_or_else(|| Clock::start(self.settings.call_timeout));
        let call = Call {
            server: &self.pool.server,
            secrets: self.pool.secrets(),
            recording: &self.pool.draft.recording,
            operation,
            clock,
        };
        call.on_held(&self.breaker, &self.session, request).await
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
