//! One session, one owner, many calls.

use std::{any::Any, fmt, future::Future, sync::Arc};

use mcp_breaker::Breaker;
use mcp_config::EffectiveSettings;
use mcp_pool_core::Session;
use rmcp::{model::*, service::ServiceError};
use serde::Serialize;

use crate::{
    call::{
        Call, CallOptions, Clock,
        rounds::{self, Rounds},
    },
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
        let clock = Clock::with(self.settings.call_timeout, &options);
        let checked = self.checked(&params, &clock).await?;
        let tool = params.name.clone();
        let operation = Operation::Tool(tool.clone());
        let driving = self.drive(operation, params, &options, clock.clone());
        let result = rounds::result(&self.pool.server, &tool, driving.await?)?;
        checked.result(&self.server, &tool, result, &clock).await
    }

    /// Fills in a prompt, with options of its own, as [`call_tool_with`](Self::call_tool_with).
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::call_tool`](crate::PooledTools::call_tool).
    pub async fn get_prompt_with(
        &self,
        params: GetPromptRequestParams,
        options: CallOptions,
    ) -> Result<GetPromptResult, Error> {
        let clock = Clock::with(self.settings.call_timeout, &options);
        let operation = Operation::Request("prompts/get");
        self.drive(operation, params, &options, clock).await
    }

    /// Reads a resource, with options of its own, as [`call_tool_with`](Self::call_tool_with).
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::call_tool`](crate::PooledTools::call_tool).
    pub async fn read_resource_with(
        &self,
        params: ReadResourceRequestParams,
        options: CallOptions,
    ) -> Result<ReadResourceResult, Error> {
        let clock = Clock::with(self.settings.call_timeout, &options);
        let operation = Operation::Request("resources/read");
        self.drive(operation, params, &options, clock).await
    }

    async fn drive<P: Rounds>(
        &self,
        operation: Operation,
        mut params: P,
        options: &CallOptions,
        clock: Clock,
    ) -> Result<P::Done, Error> {
        if let Some(meta) = &options.meta {
            let own = params.meta_mut().get_or_insert_default();
            own.extend(meta.clone());
        }
        let sink = clock.sink(options);
        let handler = options.handler.clone();
        let lent = handler.map(|handler| self.session.lend_handler(handler));
        let (params, sink, most) = (&params, sink.as_ref(), options.rounds());
        let request = |session: Arc<Session>, trace: Trace| async move {
            rounds::drive(&session, params, sink, &trace, most).await
        };
        let result = self.run(operation, Some(clock.clone()), request).await;
        if let Some(lent) = lent {
            lent.settle(clock.time_to_settle()).await;
        }
        result
    }

    /// Whether the session has ended. It is not replaced.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.session.session().has_ended()
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
