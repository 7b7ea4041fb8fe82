//! Blocking API, for code without async.
//!
//! A [`ConnectionManager`] here runs a small runtime of its own; its methods wait for their results. They must not be
//! called from async code, which has no need of them, and say so if they are.

use std::{
    fmt,
    future::Future,
    path::Path,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use mcp_config::{Changes, Config, PoolSettings};
use mcp_metrics::{Alert, Metrics, Summary};
use rmcp::{
    model::*,
    service::{PeerRequestOptions, QuitReason},
};
use serde::Serialize;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::coop::consume_budget,
};

use crate::{
    client::completion,
    error::{Error, ErrorKind},
    identity::Identity,
    manager::{ConnectionManagerBuilder, HealthReport},
    reply::Reply,
    request::Request,
    request_options::RequestOptions,
    status::{ManagerStatus, PoolStatus, ServerSettings},
};

/// A [`crate::ConnectionManager`] for code without async.
///
/// Dropping it and the last handle taken from it ends all its processes at once; [`ConnectionManager::shutdown`]
/// lets them finish.
///
/// ```no_run
/// # use mcp_pooled_tools::{Error, blocking::ConnectionManager};
/// # fn example() -> Result<(), Error> {
/// let manager = ConnectionManager::from_file(".mcp.json")?;
/// let now = manager.tools("time")?.call("get_current_time", serde_json::json!({ "timezone": "UTC" }))?;
/// manager.shutdown()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ConnectionManager {
    inner: crate::ConnectionManager,
    runtime: Arc<OwnRuntime>,
}

/// [`crate::PooledTools`] for code without async.
#[derive(Clone, Debug)]
pub struct PooledTools {
    inner: crate::PooledTools,
    runtime: Arc<OwnRuntime>,
}

struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new() -> Result<Arc<Self>, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mcp-pool-blocking")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| {
            Error::new(ErrorKind::Config, "no runtime could be started").caused_by(&error)
        })?;
        Ok(Arc::new(Self(Some(runtime))))
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, Error> {
        let runtime = self.0.as_ref().expect("taken only on drop");
        if Handle::try_current().is_ok() && is_async() {
            let message = "the blocking API was called from async code; use the async one there";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(runtime.block_on(future))
    }
}

/// Whether the code on this thread of a runtime is async. Waiting would panic there, and the panic could not be caught
/// in a program that aborts on one. tokio gives async code a budget, which ends, and others none.
fn is_async() -> bool {
    /// More than tokio gives, which is 128.
    const BEYOND_ANY_BUDGET: usize = 4_096;
    let mut context = Context::from_waker(Waker::noop());
    (0..BEYOND_ANY_BUDGET).any(|_| pin!(consume_budget()).poll(&mut context).is_pending())
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // Not by its own drop, which panics where blocking is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for OwnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runtime")
    }
}

impl ConnectionManager {
    /// See [`crate::ConnectionManager::from_file`].
    ///
    /// # Errors
    /// As there.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::make(crate::ConnectionManager::from_file(path.as_ref()))
    }

    /// See [`crate::ConnectionManager::from_env`].
    ///
    /// # Errors
    /// As there.
    pub fn from_env() -> Result<Self, Error> {
        Self::make(crate::ConnectionManager::from_env())
    }

    /// See [`ConnectionManagerBuilder::build`].
    ///
    /// # Errors
    /// As there.
    pub fn build(builder: ConnectionManagerBuilder) -> Result<Self, Error> {
        Self::make(builder.build())
    }

    fn make(
        making: impl Future<Output = Result<crate::ConnectionManager, Error>>,
    ) -> Result<Self, Error> {
        let runtime = OwnRuntime::new()?;
        let inner = runtime.wait(making)??;
        Ok(Self { inner, runtime })
    }

    /// See [`crate::ConnectionManager::servers`].
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.inner.servers()
    }

    /// See [`crate::ConnectionManager::tools`].
    ///
    /// # Errors
    /// As there.
    pub fn tools(&self, server: &str) -> Result<PooledTools, Error> {
        Ok(PooledTools {
            inner: self.inner.tools(server)?,
            runtime: Arc::clone(&self.runtime),
        })
    }

    /// See [`crate::ConnectionManager::configure_server`].
    ///
    /// # Errors
    /// As there.
    pub fn configure_server(&self, server: &str, settings: PoolSettings) -> Result<(), Error> {
        self.runtime
            .wait(async { self.inner.configure_server(server, settings) })?
    }

    /// See [`crate::ConnectionManager::settings`].
    ///
    /// # Errors
    /// As there.
    pub fn settings(&self, server: &str) -> Result<ServerSettings, Error> {
        self.inner.settings(server)
    }

    /// See [`crate::ConnectionManager::reload`].
    ///
    /// # Errors
    /// As there.
    pub fn reload(&self, config: Config) -> Result<Changes, Error> {
        self.inner.reload(config)
    }

    /// See [`crate::ConnectionManager::watch`].
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "watch")]
    pub fn watch(&self) -> Result<(), Error> {
        self.inner.watch()
    }

    /// See [`crate::ConnectionManager::status`].
    #[must_use]
    pub fn status(&self) -> ManagerStatus {
        self.inner.status()
    }

    /// See [`crate::ConnectionManager::pool_status`].
    ///
    /// # Errors
    /// As there.
    pub fn pool_status(&self, server: &str) -> Result<PoolStatus, Error> {
        self.inner.pool_status(server)
    }

    /// See [`crate::ConnectionManager::check_health`].
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn check_health(&self, server: &str) -> Result<HealthReport, Error> {
        self.runtime.wait(self.inner.check_health(server))?
    }

    /// See [`crate::ConnectionManager::metrics`].
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.inner.metrics()
    }

    /// See [`crate::ConnectionManager::summary`].
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.inner.summary()
    }

    /// See [`crate::ConnectionManager::prometheus`].
    #[must_use]
    pub fn prometheus(&self) -> String {
        self.inner.prometheus()
    }

    /// See [`crate::ConnectionManager::alerts`].
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        self.inner.alerts()
    }

    /// See [`crate::ConnectionManager::shutdown`].
    ///
    /// # Errors
    /// If called from async code.
    pub fn shutdown(&self) -> Result<(), Error> {
        self.runtime.wait(self.inner.shutdown())
    }
}

macro_rules! waiting_methods {
    ($($of:ident::$name:ident($($param:ident: $type:ty),*) -> $result:ty;)*) => {$(
        #[doc = concat!("See [`", stringify!($of), "::", stringify!($name), "`](crate::", stringify!($of), "::", stringify!($name), ").")]
        ///
        /// # Errors
        /// As there, and if called from async code.
        pub fn $name(&self $(, $param: $type)*) -> Result<$result, Error> {
            self.runtime.wait(self.inner.$name($($param),*))?
        }
    )*};
}

#[allow(
    deprecated,
    reason = "log levels are deprecated by the protocol, and still part of the plain client"
)]
impl PooledTools {
    waiting_methods! {
        Client::call_tool(params: CallToolRequestParams) -> CallToolResult;
        Client::call_tool_with(params: CallToolRequestParams, options: RequestOptions) -> CallToolResult;
        Client::call_tool_once(params: CallToolRequestParams) -> CallToolResponse;
        Client::call_tool_with_mrtr_max_rounds(params: CallToolRequestParams, max_rounds: usize) -> CallToolResult;
        Client::list_tools(params: Option<PaginatedRequestParams>) -> ListToolsResult;
        Client::list_all_tools() -> Vec<Tool>;
        Client::tool_schema(name: &str) -> Arc<JsonObject>;
        Client::list_prompts(params: Option<PaginatedRequestParams>) -> ListPromptsResult;
        Client::list_all_prompts() -> Vec<Prompt>;
        Client::get_prompt(params: GetPromptRequestParams) -> GetPromptResult;
        Client::get_prompt_with(params: GetPromptRequestParams, options: RequestOptions) -> GetPromptResult;
        Client::get_prompt_once(params: GetPromptRequestParams) -> GetPromptResponse;
        Client::get_prompt_with_mrtr_max_rounds(params: GetPromptRequestParams, max_rounds: usize) -> GetPromptResult;
        Client::list_resources(params: Option<PaginatedRequestParams>) -> ListResourcesResult;
        Client::list_all_resources() -> Vec<Resource>;
        Client::list_resource_templates(params: Option<PaginatedRequestParams>) -> ListResourceTemplatesResult;
        Client::list_all_resource_templates() -> Vec<ResourceTemplate>;
        Client::read_resource(params: ReadResourceRequestParams) -> ReadResourceResult;
        Client::read_resource_with(params: ReadResourceRequestParams, options: RequestOptions) -> ReadResourceResult;
        Client::read_resource_once(params: ReadResourceRequestParams) -> ReadResourceResponse;
        Client::read_resource_with_mrtr_max_rounds(params: ReadResourceRequestParams, max_rounds: usize) -> ReadResourceResult;
        Client::subscribe(params: SubscribeRequestParams) -> ();
        Client::unsubscribe(params: UnsubscribeRequestParams) -> ();
        Client::complete(params: CompleteRequestParams) -> CompleteResult;
        Client::complete_with(params: CompleteRequestParams, options: RequestOptions) -> CompleteResult;
        Client::set_level(params: SetLevelRequestParams) -> ();
        Client::get_task(params: GetTaskParams) -> GetTaskResult;
        Client::update_task(params: UpdateTaskParams) -> ();
        Client::cancel_task(params: CancelTaskParams) -> ();
        Client::list_skills(params: Option<PaginatedRequestParams>) -> ListSkillsResult;
        Client::list_all_skills() -> Vec<Skill>;
        Client::get_skill(params: GetSkillRequestParams) -> GetSkillResult;
        Client::read_resource_directory(params: ReadResourceDirectoryRequestParams) -> ReadResourceDirectoryResult;
        Client::send_request(request: ClientRequest) -> ServerResult;
        Client::send(request: Request, options: RequestOptions) -> Reply;
        PooledTools::send_notification(notification: ClientNotification) -> ();
        PooledTools::notify_roots_list_changed() -> ();
    }

    /// See [`crate::PooledTools::send_cancellable_request`].
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn send_cancellable_request(
        &self,
        request: ClientRequest,
        options: PeerRequestOptions,
    ) -> Result<PendingRequest, Error> {
        let sending = self.inner.send_cancellable_request(request, options);
        let inner = self.runtime.wait(sending)??;
        Ok(PendingRequest {
            inner,
            runtime: Arc::clone(&self.runtime),
        })
    }

    /// See [`crate::PooledTools::cancel`].
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn cancel(self) -> Result<QuitReason, Error> {
        self.runtime.wait(self.inner.cancel())?
    }

    /// See `call` of [`Client`](crate::Client).
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn call(&self, name: &str, arguments: impl Serialize) -> Result<CallToolResult, Error> {
        self.runtime.wait(self.inner.call(name, arguments))?
    }

    /// See [`crate::PooledTools::batch`].
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn batch(
        &self,
        calls: impl IntoIterator<Item = CallToolRequestParams>,
    ) -> Result<Vec<Result<CallToolResult, Error>>, Error> {
        self.runtime.wait(self.inner.batch(calls))?
    }

    /// See [`crate::PooledTools::peer_info`].
    #[must_use]
    pub fn peer_info(&self) -> Option<Arc<ServerPeerInfo>> {
        self.inner.peer_info()
    }

    /// See [`crate::PooledTools::scoped`].
    #[must_use]
    pub fn scoped(&self, scope: impl Into<String>) -> Self {
        Self {
            inner: self.inner.scoped(scope),
            runtime: Arc::clone(&self.runtime),
        }
    }

    /// See [`crate::PooledTools::with_identity`].
    #[must_use]
    pub fn with_identity(&self, identity: Identity) -> Self {
        Self {
            inner: self.inner.with_identity(identity),
            runtime: Arc::clone(&self.runtime),
        }
    }

    /// See [`crate::PooledTools::with_client_info`].
    #[must_use]
    pub fn with_client_info(&self, info: ClientConfig) -> Self {
        Self {
            inner: self.inner.with_client_info(info),
            runtime: Arc::clone(&self.runtime),
        }
    }

    /// See `complete_prompt_argument` of [`Client`](crate::Client).
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn complete_prompt_argument(
        &self,
        prompt_name: impl Into<String>,
        argument_name: impl Into<String>,
        current_value: impl Into<String>,
        context: Option<CompletionContext>,
    ) -> Result<CompletionInfo, Error> {
        let reference = Reference::for_prompt(prompt_name);
        let params = completion(reference, argument_name, current_value, context);
        Ok(self.complete(params)?.completion)
    }

    /// See `complete_resource_argument` of [`Client`](crate::Client).
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn complete_resource_argument(
        &self,
        uri_template: impl Into<String>,
        argument_name: impl Into<String>,
        current_value: impl Into<String>,
        context: Option<CompletionContext>,
    ) -> Result<CompletionInfo, Error> {
        let reference = Reference::for_resource(uri_template);
        let params = completion(reference, argument_name, current_value, context);
        Ok(self.complete(params)?.completion)
    }

    /// See `complete_prompt_simple` of [`Client`](crate::Client).
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn complete_prompt_simple(
        &self,
        prompt_name: impl Into<String>,
        argument_name: impl Into<String>,
        current_value: impl Into<String>,
    ) -> Result<Vec<String>, Error> {
        let info = self.complete_prompt_argument(prompt_name, argument_name, current_value, None);
        Ok(info?.values)
    }

    /// See `complete_resource_simple` of [`Client`](crate::Client).
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn complete_resource_simple(
        &self,
        uri_template: impl Into<String>,
        argument_name: impl Into<String>,
        current_value: impl Into<String>,
    ) -> Result<Vec<String>, Error> {
        let info =
            self.complete_resource_argument(uri_template, argument_name, current_value, None);
        Ok(info?.values)
    }

    /// See [`crate::PooledTools::is_closed`].
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
}

/// [`crate::PendingRequest`] for code without async.
#[derive(Debug)]
#[must_use = "the request is cancelled when this is dropped"]
pub struct PendingRequest {
    inner: crate::PendingRequest,
    runtime: Arc<OwnRuntime>,
}

impl PendingRequest {
    /// The request's id on its session.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.inner.id
    }

    /// See [`crate::PendingRequest::await_response`].
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn await_response(self) -> Result<ServerResult, Error> {
        self.runtime.wait(self.inner.await_response())?
    }

    /// See [`crate::PendingRequest::await_reply`].
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn await_reply(self) -> Result<Reply, Error> {
        self.runtime.wait(self.inner.await_reply())?
    }

    /// See [`crate::PendingRequest::cancel`].
    ///
    /// # Errors
    /// As there, and if called from async code.
    pub fn cancel(self, reason: Option<String>) -> Result<(), Error> {
        self.runtime.wait(self.inner.cancel(reason))?
    }
}
