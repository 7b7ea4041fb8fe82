//! The protocol handler of the server. Its tools are in `calls` and `hostile`.

#![expect(
    deprecated,
    reason = "logging and the legacy subscriptions are deprecated in the protocol, and still in use"
)]

use std::borrow::Cow;

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::*,
    service::{NotificationContext, RequestContext, SubscriptionContext},
};

use crate::{Hang, TestServer, calls, era::Opening, pages::page, prompts, resources};

type Context = RequestContext<RoleServer>;

impl ServerHandler for TestServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(capabilities())
            .with_server_info(Implementation::new(
                &*self.options.name,
                &*self.options.version,
            ))
            .with_instructions("A server for tests: call the tools whose behaviour you need.")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.options.era.supported_versions()
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: Context,
    ) -> Result<InitializeResult, ErrorData> {
        self.admit_opening(
            Opening::Initialize,
            Some(&request.protocol_version),
            &context,
        )
        .await?;
        context.peer.set_peer_info(request.clone());
        let result = self.negotiate_initialize(&request)?;
        self.begin_session();
        // Not left to `notifications/initialized`, which a call right behind it may overtake.
        self.shared.peers.lock().push(context.peer);
        self.shared.counters.initialized();
        Ok(result)
    }

    async fn discover(&self, context: Context) -> Result<DiscoverResult, ErrorData> {
        self.admit_opening(Opening::Discover, None, &context)
            .await?;
        if self.connection.is_some() {
            self.begin_session();
        }
        self.shared.counters.discovered();
        let versions = self.supported_protocol_versions().into_owned();
        Ok(DiscoverResult::from_server_info(versions, self.get_info()))
    }

    async fn ping(&self, context: Context) -> Result<(), ErrorData> {
        self.admit("ping", &context).await.map(drop)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let overlap = calls::Overlap::watch(self);
        let _turn = self.admit("tools/call", &context).await?;
        calls::call(self, request, context, overlap).await
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let _turn = self.admit("tools/list", &context).await?;
        let tools = self.shared.tools.read().clone();
        let (tools, next_cursor) = page(&tools, self.options.paging, request)?;
        let mut result = ListToolsResult::with_all_items(tools);
        result.next_cursor = next_cursor;
        (result.ttl_ms, result.cache_scope) = self.cache_hints();
        Ok(result)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        let tools = self.shared.tools.read();
        tools.iter().find(|tool| tool.name == name).cloned()
    }

    async fn list_prompts(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let _turn = self.admit("prompts/list", &context).await?;
        let (prompts, next_cursor) = page(&prompts::all(), self.options.paging, request)?;
        let mut result = ListPromptsResult::with_all_items(prompts);
        result.next_cursor = next_cursor;
        (result.ttl_ms, result.cache_scope) = self.cache_hints();
        Ok(result)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let _turn = self.admit("prompts/get", &context).await?;
        prompts::get(request).map(GetPromptResponse::from)
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let _turn = self.admit("resources/list", &context).await?;
        let (resources, next_cursor) = page(&resources::all(), self.options.paging, request)?;
        let mut result = ListResourcesResult::with_all_items(resources);
        result.next_cursor = next_cursor;
        (result.ttl_ms, result.cache_scope) = self.cache_hints();
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        request: Option<PaginatedRequestParams>,
        context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let _turn = self.admit("resources/templates/list", &context).await?;
        let (templates, next_cursor) = page(&resources::templates(), self.options.paging, request)?;
        let mut result = ListResourceTemplatesResult::with_all_items(templates);
        result.next_cursor = next_cursor;
        (result.ttl_ms, result.cache_scope) = self.cache_hints();
        Ok(result)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let _turn = self.admit("resources/read", &context).await?;
        resources::read(&request.uri).map(ReadResourceResponse::from)
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        let _turn = self.admit("resources/subscribe", &context).await?;
        resources::read(&request.uri).map(drop)
    }

    async fn unsubscribe(
        &self,
        _request: UnsubscribeRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        self.admit("resources/unsubscribe", &context)
            .await
            .map(drop)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let _turn = self.admit("completion/complete", &context).await?;
        Ok(CompleteResult::new(prompts::complete(&request)))
    }

    async fn set_level(
        &self,
        _request: SetLevelRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        self.admit("logging/setLevel", &context).await.map(drop)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: Context,
    ) -> Result<CustomResult, ErrorData> {
        let _turn = self.admit(&request.method, &context).await?;
        Err(ErrorData::new(
            ErrorCode::METHOD_NOT_FOUND,
            request.method,
            None,
        ))
    }

    async fn on_cancelled(
        &self,
        _notification: CancelledNotificationParam,
        _context: NotificationContext<RoleServer>,
    ) {
        self.shared.counters.cancelled();
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        if self.connection.is_none() {
            self.saw_request("subscriptions/listen");
        }
        // Watched from here, because the client is notified before `listen` begins.
        let changes = self.shared.tools_changed.subscribe();
        self.session.accepted.lock().push_back(changes);
        Some(requested.clone())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let accepted = self.session.accepted.lock().pop_front();
        let mut changes = accepted.unwrap_or_else(|| self.shared.tools_changed.subscribe());
        loop {
            tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                // The sender lives in `self.shared`, so this cannot fail before the session ends.
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
            }
            if subscription
                .sink()
                .notify_tool_list_changed()
                .await
                .is_err()
            {
                return Ok(());
            }
        }
    }
}

impl TestServer {
    async fn admit_opening(
        &self,
        opening: Opening,
        asked: Option<&ProtocolVersion>,
        context: &Context,
    ) -> Result<(), ErrorData> {
        // A connection has counted and refused already.
        if self.connection.is_some() {
            return Ok(());
        }
        self.saw_request(match opening {
            Opening::Initialize => "initialize",
            Opening::Discover => "server/discover",
        });
        if self.options.faults.hang == Some(Hang::BeforeHandshake) {
            context.ct.cancelled().await;
        }
        self.refuse_opening(opening, asked).map_or(Ok(()), Err)
    }

    fn cache_hints(&self) -> (Option<u64>, Option<CacheScope>) {
        let ttl = self.options.list_ttl.map(|ttl| ttl.as_millis() as u64);
        let scope = match (self.options.private_lists, ttl) {
            (true, _) => Some(CacheScope::Private),
            (false, Some(_)) => Some(CacheScope::Public),
            (false, None) => None,
        };
        (ttl, scope)
    }
}

fn capabilities() -> ServerCapabilities {
    ServerCapabilities::builder()
        .enable_tools()
        .enable_tool_list_changed()
        .enable_prompts()
        .enable_resources()
        .enable_resources_subscribe()
        .enable_completions()
        .enable_logging()
        .build()
}
