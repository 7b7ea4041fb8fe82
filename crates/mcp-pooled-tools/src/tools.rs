//! The drop-in: the plain client's API over a pool.

#![allow(
    deprecated,
    reason = "log levels are deprecated by the protocol, and still part of the plain client"
)]

mod protocol;

use std::{any::Any, fmt, future::Future, sync::Arc};

use mcp_config::{EffectiveSettings, Sharing};
use mcp_pool_core::{CallerHandler, Session};
use rmcp::{model::*, service::ServiceError};
use serde::Serialize;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    call::{
        Call, CallOptions, Clock, Route,
        rounds::{self, Rounds},
    },
    checking::Checked,
    error::Error,
    identity::Identity,
    lists,
    operation::Operation,
    pinned::PinnedSession,
    plain::{
        list_method, params, plain_calls, plain_lists, plain_requests, request_method, schema_in,
    },
    requests,
    scope::ScopeHandle,
    server::{Server, ServerPool},
    tool_list::ToolList,
    trace::Trace,
};

/// The tools of one server, called over live sessions of a pool.
///
/// Has the request methods of rmcp's `RunningService<RoleClient, _>`, with the same names, parameters and results. What
/// else changes in a program of rmcp is in `docs/from-rmcp.md`. Cheap to clone; clones are the same scope.
#[derive(Clone)]
pub struct PooledTools {
    server: Arc<Server>,
    pool: Source,
    /// What sessions declare, if that is not what the manager says.
    client: Option<Arc<ClientConfig>>,
    scope: ScopeHandle,
}

/// Where the pool is. An identity that cannot be used says so when it is used, not when it is named.
#[derive(Clone)]
enum Source {
    Pool(Arc<ServerPool>),
    Identity(Option<Arc<Identity>>),
}

impl PooledTools {
    pub(crate) fn new(server: Arc<Server>, pool: Arc<ServerPool>) -> Self {
        Self {
            server,
            pool: Source::Pool(pool),
            client: None,
            scope: ScopeHandle::default(),
        }
    }

    plain_requests!(request_method);
    plain_lists!(list_method);
    plain_calls!();

    /// Calls a tool. Rounds of input that the server asks for are answered as by the plain client `()`.
    ///
    /// The same as the plain client's method of this name.
    ///
    /// # Errors
    /// Any [`Error`]. One of kind [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) or
    /// [`Timeout`](crate::ErrorKind::Timeout) means that the tool may have run.
    ///
    /// # Cancel safety
    /// May be dropped at any point: the server is told, the session stays usable, no place is lost. The tool may
    /// have run.
    pub async fn call_tool(&self, params: CallToolRequestParams) -> Result<CallToolResult, Error> {
        self.call_tool_with(params, CallOptions::new()).await
    }

    /// Calls a tool with options of its own.
    ///
    /// # Errors
    /// As [`PooledTools::call_tool`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::call_tool`].
    pub async fn call_tool_with(
        &self,
        params: CallToolRequestParams,
        options: CallOptions,
    ) -> Result<CallToolResult, Error> {
        match self.for_options(&options) {
            Some(tools) => tools.call_tool_here(params, options).await,
            None => self.call_tool_here(params, options).await,
        }
    }

    /// Fills in a prompt, with options of its own. With a [handler](CallOptions::handler), it answers the server.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// May be dropped at any point: the server is told, the session stays usable, no place is lost.
    pub async fn get_prompt_with(
        &self,
        params: GetPromptRequestParams,
        options: CallOptions,
    ) -> Result<GetPromptResult, Error> {
        self.request_with("prompts/get", params, options).await
    }

    /// Reads a resource, with options of its own. With a [handler](CallOptions::handler), it answers the server.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::get_prompt_with`].
    pub async fn read_resource_with(
        &self,
        params: ReadResourceRequestParams,
        options: CallOptions,
    ) -> Result<ReadResourceResult, Error> {
        self.request_with("resources/read", params, options).await
    }

    /// Completes an argument, with options of its own. With a [handler](CallOptions::handler), it answers the server.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::get_prompt_with`].
    pub async fn complete_with(
        &self,
        params: CompleteRequestParams,
        options: CallOptions,
    ) -> Result<CompleteResult, Error> {
        self.request_with("completion/complete", params, options)
            .await
    }

    async fn request_with<P: Rounds>(
        &self,
        method: &'static str,
        params: P,
        options: CallOptions,
    ) -> Result<P::Done, Error> {
        let other = self.for_options(&options);
        let tools = other.as_ref().unwrap_or(self);
        let pool = tools.pool_to_call(options.handler.as_ref())?;
        let clock = Clock::with(pool.settings().call_timeout, &options);
        let operation = Operation::Request(method);
        tools.drive(&pool, operation, params, &options, clock).await
    }

    /// The tools in the scope and on behalf of the identity that the options name, if they name any.
    fn for_options(&self, options: &CallOptions) -> Option<Self> {
        let other = options
            .identity
            .clone()
            .map(|identity| self.with_identity(identity));
        match &options.scope {
            Some(scope) => Some(other.as_ref().unwrap_or(self).scoped(scope)),
            None => other,
        }
    }

    async fn call_tool_here(
        &self,
        params: CallToolRequestParams,
        options: CallOptions,
    ) -> Result<CallToolResult, Error> {
        let pool = self.pool_to_call(options.handler.as_ref())?;
        let clock = Clock::with(pool.settings().call_timeout, &options);
        let checked = self.checked(&pool, &params, &clock).await?;
        let tool = params.name.clone();
        let operation = Operation::Tool(tool.clone());
        let driving = self.drive(&pool, operation, params, &options, clock.clone());
        let result = rounds::result(&pool.server, &tool, driving.await?)?;
        checked.result(&self.server, &tool, result, &clock).await
    }

    /// Makes a request with its rounds of input, as the options say.
    async fn drive<P: Rounds>(
        &self,
        pool: &ServerPool,
        operation: Operation,
        mut params: P,
        options: &CallOptions,
        clock: Clock,
    ) -> Result<P::Done, Error> {
        if let Some(meta) = &options.meta {
            let own = params.meta_mut().get_or_insert_default();
            own.extend(meta.clone());
        }
        let settings = pool.settings();
        let sink = clock.sink(options);
        let call = Call {
            server: &pool.server,
            secrets: pool.secrets(),
            recording: &pool.draft.recording,
            operation,
            clock,
        };
        let route = Route {
            handler: options.handler.as_ref(),
            replay: options.replay.unwrap_or(settings.replay),
            ..self.route(pool, &settings)
        };
        let (params, sink, most) = (&params, sink.as_ref(), options.rounds());
        let request = |session: Arc<Session>, trace: Trace| async move {
            rounds::drive(&session, params, sink, &trace, most).await
        };
        call.on_pool(&route, request).await
    }

    async fn checked(
        &self,
        pool: &Arc<ServerPool>,
        params: &CallToolRequestParams,
        clock: &Clock,
    ) -> Result<Checked, Error> {
        let (server, settings) = (&self.server, pool.settings());
        Checked::arguments(server, pool, &self.scope, &settings, params, clock).await
    }

    async fn check_arguments(&self, params: &CallToolRequestParams) -> Result<Clock, Error> {
        let pool = self.pool_to_call(None)?;
        let clock = Clock::start(pool.settings().call_timeout);
        self.checked(&pool, params, &clock).await?;
        Ok(clock)
    }

    /// All tools of the server, over all pages. Kept until the server says that they have changed, or for as long as
    /// it says that they are good.
    ///
    /// The same as the plain client's method of this name.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn list_all_tools(&self) -> Result<Vec<Tool>, Error> {
        Ok(self.tool_list().await?.tools().to_vec())
    }

    /// The schema of a tool's arguments.
    ///
    /// # Errors
    /// [`ErrorKind::Validation`](crate::ErrorKind::Validation) if there is no such tool; else any [`Error`].
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn tool_schema(&self, name: &str) -> Result<Arc<JsonObject>, Error> {
        schema_in(self.tool_list().await?.tools(), name)
            .map_err(|error| error.of(&self.server.name))
    }

    async fn tool_list(&self) -> Result<Arc<ToolList>, Error> {
        let pool = self.pool()?;
        let (pool, clock) = (&*pool, Clock::start(pool.settings().call_timeout));
        let fetched = pool.draft.tools.get_or_fetch(async || {
            let operation = Operation::Request("tools/list");
            self.run(
                operation,
                Some(clock.clone()),
                |session, trace| async move { pool.list_tools(&session, &trace).await },
            )
            .await
        });
        // The fetching caller has the same limit and answers first: this is for those who wait for another.
        clock
            .within(fetched)
            .await
            .unwrap_or_else(|_| Err(pool.list_timeout(&clock)))
    }

    /// Sets the level of the server's log messages, on all sessions, now and to come.
    ///
    /// The same as the plain client's method of this name.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// May be dropped at any point; some sessions may have been told by then.
    pub async fn set_level(&self, params: SetLevelRequestParams) -> Result<(), Error> {
        let level = params.level;
        self.run(
            Operation::Request("logging/setLevel"),
            None,
            |session, trace| async move {
                requests::set_level(&session, &trace, SetLevelRequestParams::new(level)).await
            },
        )
        .await?;
        let pool = self.pool()?;
        pool.draft.setup.set_level(level);
        let current = pool.current();
        let trace = pool.draft.recording.trace();
        let mut telling = JoinSet::new();
        for session in current.pool.sessions() {
            let (limit, trace) = (current.settings.probe_timeout, trace.clone());
            telling.spawn(async move {
                // One that has ended meanwhile needs no telling, and one that does not listen is not waited for.
                let params = SetLevelRequestParams::new(level);
                let _ = timeout(limit, requests::set_level(&session, &trace, params)).await;
            });
        }
        telling.join_all().await;
        Ok(())
    }

    /// What the server said of itself when a session was last opened; `None` before the first.
    #[must_use]
    pub fn peer_info(&self) -> Option<Arc<ServerPeerInfo>> {
        self.pool().ok()?.draft.setup.peer_info()
    }

    /// One session for many calls of one caller, shared with nobody while it is held.
    ///
    /// # Errors
    /// Any [`Error`] of acquiring a session; [`ErrorKind::CircuitOpen`](crate::ErrorKind::CircuitOpen) while the server is
    /// cut off.
    ///
    /// # Cancel safety
    /// May be dropped at any point; no place is lost.
    pub async fn session(&self) -> Result<PinnedSession, Error> {
        let pool = self.pool_to_call(None)?;
        let held = pool.hold(&self.scope).await?;
        let settings = pool.settings();
        // The handle keeps the scope: the session is the scope's as long as it is held.
        Ok(PinnedSession::new(
            held,
            Arc::clone(&self.server),
            pool,
            settings,
            self.scope.clone(),
        ))
    }

    /// Makes calls one after the other on one session. A call that fails does not stop the others.
    ///
    /// # Errors
    /// If no session could be had; the calls have results of their own.
    ///
    /// # Cancel safety
    /// May be dropped at any point; calls made by then may have run.
    pub async fn batch(
        &self,
        calls: impl IntoIterator<Item = CallToolRequestParams>,
    ) -> Result<Vec<Result<CallToolResult, Error>>, Error> {
        // The iterator is not held across an await: the future stays `Send` whatever it is.
        let calls: Vec<_> = calls.into_iter().collect();
        let session = self.session().await?;
        let mut results = Vec::with_capacity(calls.len());
        for params in calls {
            results.push(session.call_tool(params).await);
        }
        Ok(results)
    }

    /// The same tools in the scope of this name: where sessions are pinned, all handles of a scope share its session,
    /// and no other does. The scope ends with the last of them.
    #[must_use]
    pub fn scoped(&self, scope: impl Into<String>) -> PooledTools {
        let mut tools = self.clone();
        if let Ok(pool) = self.base() {
            tools.scope = pool.scopes.named(scope.into());
        }
        tools
    }

    /// The same tools on behalf of another identity: in sessions of their own. A scope of its own, too.
    #[must_use]
    pub fn with_identity(&self, identity: Identity) -> PooledTools {
        self.through(Some(identity), self.client.clone())
    }

    /// The same tools, to whose server sessions declare this: name and version of the client, its capabilities and
    /// extensions. In place of [`client_info`](crate::ConnectionManagerBuilder::client_info) of the manager.
    ///
    /// A server is told once per session, or with each request in the modern era. So what declares something else has
    /// sessions of its own, and a list of tools of its own. Handles that declare the same share them. A scope of its
    /// own, too.
    #[must_use]
    pub fn with_client_info(&self, info: ClientConfig) -> PooledTools {
        self.through(self.identity().cloned(), Some(Arc::new(info)))
    }

    fn identity(&self) -> Option<&Identity> {
        match &self.pool {
            Source::Pool(pool) => pool.draft.identity.as_ref(),
            Source::Identity(identity) => identity.as_deref(),
        }
    }

    fn through(&self, identity: Option<Identity>, client: Option<Arc<ClientConfig>>) -> Self {
        let pool = self
            .server
            .pool_of(identity.as_ref(), client.as_deref().cloned());
        Self {
            server: Arc::clone(&self.server),
            pool: match pool {
                Ok(pool) => Source::Pool(pool),
                Err(_) => Source::Identity(identity.map(Arc::new)),
            },
            client,
            scope: ScopeHandle::default(),
        }
    }

    /// The pool of the identity and of what its client declares.
    fn base(&self) -> Result<Arc<ServerPool>, Error> {
        match &self.pool {
            Source::Pool(pool) => Ok(Arc::clone(pool)),
            Source::Identity(identity) => self
                .server
                .pool_of(identity.as_deref(), self.client.as_deref().cloned()),
        }
    }

    /// The pool to ask and to read from: where sessions are pinned, that of the scope's.
    fn pool(&self) -> Result<Arc<ServerPool>, Error> {
        let base = self.base()?;
        let pinned = base.settings().sharing == Sharing::Pinned;
        Ok(pinned.then(|| self.scope.home()).flatten().unwrap_or(base))
    }

    /// The pool to call on: one of its own where the caller answers the server. Where sessions are pinned, the first
    /// call of a scope decides for all: they share its session.
    fn pool_to_call(&self, handler: Option<&CallerHandler>) -> Result<Arc<ServerPool>, Error> {
        let base = self.base()?;
        let pinned = base.settings().sharing == Sharing::Pinned;
        if pinned && let Some(home) = self.scope.home() {
            return Ok(home);
        }
        let pool = match handler {
            Some(handler) => self
                .server
                .pool_of(base.draft.identity.as_ref(), Some(handler.get_info()))?,
            None => Arc::clone(&base),
        };
        Ok(if pinned {
            self.scope.settle(pool, &base)
        } else {
            pool
        })
    }

    fn route<'a>(&'a self, pool: &'a ServerPool, settings: &EffectiveSettings) -> Route<'a> {
        Route {
            server: &self.server,
            pool,
            scope: &self.scope,
            handler: None,
            replay: settings.replay,
            fallback: settings.fallback,
        }
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
        let pool = match operation.tool() {
            Some(_) => self.pool_to_call(None)?,
            None => self.pool()?,
        };
        let settings = pool.settings();
        let clock = clock.unwrap_or_else(|| Clock::start(settings.call_timeout));
        let call = Call {
            server: &pool.server,
            secrets: pool.secrets(),
            recording: &pool.draft.recording,
            operation,
            clock,
        };
        call.on_pool(&self.route(&pool, &settings), request).await
    }
}

impl fmt::Debug for PooledTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledTools")
            .field("server", &self.server.name)
            .field("identity", &self.identity().map(Identity::name))
            .finish()
    }
}
