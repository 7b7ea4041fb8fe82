//! The drop-in: the plain client's API over a pool.

#![allow(
    deprecated,
    reason = "log levels are deprecated by the protocol, and still part of the plain client"
)]

mod protocol;

use std::{fmt, ops::Deref, pin::pin, sync::Arc, time::Duration};

use mcp_pool_core::{CallerHandler, Phase};
use rmcp::{
    RoleClient,
    model::{
        CallToolRequestParams, CallToolResult, ClientConfig, EmptyObject, JsonObject,
        ServerPeerInfo, SetLevelRequestParams, Tool,
    },
    service::Service,
};
use serde::Deserialize;

use crate::{
    call::{self, CallDeadline, Interrupted, Route, classify::Verdict},
    client::{BoxFuture, Client, schema_in},
    error::Error,
    identity::Identity,
    notifications::NotificationStream,
    pinned::PinnedSession,
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
    scope::{ScopeClient, ScopeHandle},
    scope_handler::ScopeHandler,
    server::{Server, ServerPool},
    subscription::resources::{SUBSCRIBE, Subscriptions, UNSUBSCRIBE},
    tool_list::ToolList,
};

/// The tools of one server, called over live sessions of a pool.
///
/// Derefs to [`Client`], and so has the request methods of rmcp's `RunningService<RoleClient, _>`, with the same names,
/// parameters and results. What else changes in a program of rmcp is in `docs/from-rmcp.md`. Cheap to clone; clones are
/// the same scope.
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

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Sends a request in this scope.
    async fn send_here(&self, request: Request, options: &RequestOptions) -> Result<Reply, Error> {
        let of_the_scope = OF_THE_SCOPE.contains(&request.method());
        let pool = match (&options.handler, self.scope.client()) {
            (None, None) if request.tool().is_none() => self.pool()?,
            (_, Some(_)) if !of_the_scope => self.pool()?,
            (handler, _) => self.pool_to_call(handler.as_ref())?,
        };
        match request.method() {
            "logging/setLevel" => {
                return Box::pin(self.set_level_everywhere(&pool, request, options)).await;
            }
            SUBSCRIBE | UNSUBSCRIBE if !pool.snapshot().scoped => {
                return Box::pin(self.count_subscription(&pool, &request, options)).await;
            }
            _ => {}
        }
        call::on_pool(&self.route(&pool), request, options).await
    }

    /// The tools in the scope and on behalf of the identity that the options name, if they name any.
    fn for_options(&self, options: &RequestOptions) -> Option<Self> {
        let other = options
            .identity
            .clone()
            .map(|identity| self.with_identity(identity));
        match &options.scope {
            Some(scope) => Some(other.as_ref().unwrap_or(self).scoped(scope)),
            None => other,
        }
    }

    async fn tool_list(&self) -> Result<Arc<ToolList>, Error> {
        let pool = self.pool()?;
        let deadline = CallDeadline::start(pool.settings().call_timeout);
        let fetched = pin!(pool.context.tools().get_or_fetch(async || {
            let (request, options) = (
                Request::new("tools/list"),
                RequestOptions::new().all_pages(),
            );
            let reply = call::on_pool(&self.route(&pool), request, &options).await?;
            pool.fetched(reply).await
        }));
        // The fetching caller has the same limit and answers first: this is for those who wait for another.
        deadline
            .within(fetched)
            .await
            .unwrap_or_else(|_| Err(pool.list_timeout(&deadline)))
    }

    /// Subscribes to a resource, or ends that. The server is asked by the first caller and the last.
    async fn count_subscription(
        &self,
        pool: &Arc<ServerPool>,
        request: &Request,
        options: &RequestOptions,
    ) -> Result<Reply, Error> {
        #[derive(Deserialize)]
        struct Resource {
            uri: String,
        }
        let Resource { uri } = request.parse_params()?;
        let deadline = CallDeadline::with(pool.settings().call_timeout, options);
        let operation = request.operation();
        let record = pool.context.telemetry.call(&operation, deadline.began());
        let permit = match pool.permit(&pool.snapshot(), deadline.longest()) {
            Ok(permit) => permit,
            Err(error) => return record.end(Err(error)),
        };
        let counting = pin!(async {
            if request.method() == SUBSCRIBE {
                Subscriptions::enter(&self.server, pool, &self.scope, &uri, &deadline).await?;
                self.scope.subscribed(pool, &uri);
            } else if self.scope.unsubscribed(pool, &uri) {
                pool.context.subscriptions.leave(&uri).await;
            }
            Ok(Reply::typed(&EmptyObject {}))
        });
        let outcome = match deadline.within(counting).await {
            Ok(outcome) => outcome,
            Err(Interrupted::Cancelled) => {
                Err(Error::cancelled(&pool.server, &operation, Phase::Call))
            }
            Err(Interrupted::OutOfTime) => {
                let (passed, overdue) = (deadline.passed(), deadline.is_overdue());
                let server = &pool.server;
                Err(Error::timeout(
                    server,
                    &operation,
                    Phase::Call,
                    passed,
                    overdue,
                ))
            }
        };
        let verdict = outcome
            .as_ref()
            .map_or_else(Verdict::of, |_| Verdict::Answered);
        verdict.record(permit);
        record.end(outcome)
    }

    /// Sets the level of log messages on all sessions, now and to come.
    async fn set_level_everywhere(
        &self,
        pool: &Arc<ServerPool>,
        request: Request,
        options: &RequestOptions,
    ) -> Result<Reply, Error> {
        let params: SetLevelRequestParams = request.parse_params()?;
        let reply = call::on_pool(&self.route(pool), request.clone(), options).await?;
        pool.set_log_level(params.level).await;
        Ok(reply)
    }

    /// Notifications of the server from now on: changes of its lists, updates of resources that were
    /// [subscribed](Client::subscribe) to, log messages.
    ///
    /// ```
    /// # use mcp_pooled_tools::{ConnectionManager, Error, Notification};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let tools = manager.tools("github")?;
    /// let mut notifications = tools.notifications();
    /// while let Some(notification) = notifications.next().await {
    ///     if let Notification::ToolsChanged = notification {
    ///         println!("{} tools", tools.list_all_tools().await?.len());
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn notifications(&self) -> NotificationStream {
        match self.pool() {
            Ok(pool) => pool.context.notifications.stream(),
            Err(_) => NotificationStream::ended(),
        }
    }

    /// What the server said of itself when a session was last opened; `None` before the first.
    #[must_use]
    pub fn peer_info(&self) -> Option<Arc<ServerPeerInfo>> {
        self.pool().ok()?.context.setup.peer_info()
    }

    /// One session for many calls of one caller, not shared while it is held.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let session = manager.tools("browser")?.session().await?;
    /// session.call("open", serde_json::json!({ "url": "https://example.com" })).await?;
    /// let page = session.call("read", ()).await?;
    /// # Ok(())
    /// # }
    /// ```
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
        // The handle keeps the scope: the session is the scope's as long as it is held.
        Ok(PinnedSession::new(
            held,
            Arc::clone(&self.server),
            pool,
            self.scope.clone(),
        ))
    }

    /// Makes calls one after the other on one session. A call that fails does not stop the others.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error, rmcp};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// use rmcp::model::CallToolRequestParams;
    ///
    /// let calls = ["open", "read"].map(CallToolRequestParams::new);
    /// for result in manager.tools("browser")?.batch(calls).await? {
    ///     println!("{:?}", result?.content);
    /// }
    /// # Ok(())
    /// # }
    /// ```
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
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let alice = manager.tools("browser")?.scoped("alice");
    /// alice.call("open", serde_json::json!({ "url": "https://example.com" })).await?;
    /// let page = manager.tools("browser")?.scoped("alice").call("read", ()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn scoped(&self, scope: impl Into<String>) -> PooledTools {
        let mut tools = self.clone();
        if let Ok(pool) = self.base() {
            tools.scope = pool.scopes.named(scope.into());
        }
        tools
    }

    /// The same tools on behalf of another identity: in sessions of their own. A scope of its own, too.
    ///
    /// ```no_run
    /// # use mcp_pooled_tools::{ConnectionManager, Error, Identity};
    /// # async fn example(manager: ConnectionManager) -> Result<(), Error> {
    /// let alice = Identity::new("alice").bearer("alice's token");
    /// let issues = manager.tools("github")?.with_identity(alice).call("list_issues", ()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_identity(&self, identity: Identity) -> PooledTools {
        self.through(Some(identity), self.client.clone())
    }

    /// The same tools, to whose server sessions declare this: name and version of the client, its capabilities and
    /// extensions. In place of [`client_info`](crate::ConnectionManagerBuilder::client_info) of the manager.
    ///
    /// Capabilities are declared once per session, or with each request in the modern era. A handle that declares others has
    /// sessions of its own, and a list of tools of its own. Handles that declare the same share them. A scope of its
    /// own, too.
    #[must_use]
    pub fn with_client_info(&self, info: ClientConfig) -> PooledTools {
        self.through(self.identity().cloned(), Some(Arc::new(info)))
    }

    /// The same tools with a client of this scope: `info` is what its sessions declare, and `handler` answers the server's
    /// requests during all calls of the scope: sampling, elicitation, roots, rounds of input.
    ///
    /// Calls of the scope run side by side. A modern server asks in its replies, so that the scope shares sessions with
    /// others that declare the same. A legacy server asks on its session, which then belongs to the scope; the handler
    /// is given its notifications, too. Where sessions are pinned, call this before the first call of the scope.
    ///
    /// A call may bring a [handler](RequestOptions::handler) of its own, which answers in place of the scope's while the
    /// call is under way. Over HTTP that is exact: a question arrives on the stream of its call. Over stdio a question
    /// does not say which call it belongs to: the call that began last is given it.
    ///
    /// ```
    /// # use mcp_pooled_tools::{ConnectionManager, Error, rmcp::{ClientHandler, model::ClientConfig}};
    /// # async fn example(manager: ConnectionManager, handler: impl ClientHandler) -> Result<(), Error> {
    /// let tools = manager.tools("github")?.scoped("alice");
    /// let tools = tools.with_client(handler.get_info(), handler);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_client(
        &self,
        info: ClientConfig,
        handler: impl Service<RoleClient>,
    ) -> PooledTools {
        let mut tools = self.through(self.identity().cloned(), Some(Arc::new(info.clone())));
        tools.scope = self.scope.clone();
        tools.scope.set_client(ScopeClient {
            info,
            handler: Arc::new(ScopeHandler::new(Arc::new(handler))),
            on_shared: false,
        });
        tools
    }

    /// The same tools with a client of this scope, which uses the sessions of all where those may be shared.
    pub(crate) fn with_client_on_shared(
        &self,
        info: ClientConfig,
        handler: impl Service<RoleClient>,
    ) -> PooledTools {
        self.scope.set_client(ScopeClient {
            info,
            handler: Arc::new(ScopeHandler::new(Arc::new(handler))),
            on_shared: true,
        });
        self.clone()
    }

    /// How old a list may become that has no time.
    pub(crate) fn list_max_age(&self) -> Duration {
        self.server.settings().list_max_age
    }

    fn identity(&self) -> Option<&Identity> {
        match &self.pool {
            Source::Pool(pool) => pool.context.identity.as_ref(),
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
        Ok(base
            .is_pinned()
            .then(|| self.scope.first_pool())
            .flatten()
            .unwrap_or(base))
    }

    /// The pool to call on: one of its own where a handler answers the server. Where sessions are pinned, the first
    /// call of a scope decides for all: they share its session.
    fn pool_to_call(&self, handler: Option<&CallerHandler>) -> Result<Arc<ServerPool>, Error> {
        let base = self.base()?;
        let pinned = base.is_pinned();
        if pinned && let Some(home) = self.scope.first_pool() {
            return Ok(home);
        }
        let (server, identity) = (&self.server, base.context.identity.as_ref());
        let other = match (handler, self.scope.client()) {
            (_, Some(client)) if client.on_shared && server.is_shared_by_scopes() => None,
            // A modern server asks in its replies. A legacy one asks on its session, which then is the scope's.
            (_, Some(client)) if pinned || server.is_modern() => {
                Some(server.pool_of(identity, Some(client.info))?)
            }
            (_, Some(client)) => Some(server.pool_of_scopes(identity, client.info)?),
            (Some(handler), None) => Some(server.pool_of(identity, Some(handler.get_info()))?),
            (None, None) => None,
        };
        if !pinned {
            return Ok(other.unwrap_or(base));
        }
        let pool = other.unwrap_or_else(|| Arc::clone(&base));
        Ok(self.scope.set_first_pool(pool, &base))
    }

    fn route<'a>(&'a self, pool: &'a Arc<ServerPool>) -> Route<'a> {
        Route {
            server: &self.server,
            pool,
            scope: &self.scope,
        }
    }
}

impl Client for PooledTools {
    fn send<'a>(
        &'a self,
        request: Request,
        options: RequestOptions,
    ) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(async move {
            let other = self.for_options(&options);
            let tools = other.as_ref().unwrap_or(self);
            tools.send_here(request, &options).await
        })
    }

    /// Kept until the server says that they have changed, or for as long as it says that they are good.
    fn list_all_tools(&self) -> BoxFuture<'_, Result<Vec<Tool>, Error>> {
        Box::pin(async move { Ok(self.tool_list().await?.tools().to_vec()) })
    }

    fn tool_schema<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<JsonObject>, Error>> {
        Box::pin(async move {
            let schema = schema_in(self.tool_list().await?.tools(), name);
            schema.map_err(|error| error.of(&self.server.name))
        })
    }
}

impl Deref for PooledTools {
    type Target = dyn Client;

    fn deref(&self) -> &Self::Target {
        self
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

/// Methods for which a scope with a client has its own session: a server may ask its client during them, or tell that
/// session later what the scope's calls have changed.
const OF_THE_SCOPE: [&str; 11] = [
    "tools/call",
    "prompts/get",
    "resources/read",
    "completion/complete",
    SUBSCRIBE,
    UNSUBSCRIBE,
    // Tasks are where the call that began them was made.
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
    "tasks/result",
    "tasks/list",
];
