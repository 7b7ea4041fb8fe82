//! A server of one resource that changes, for tests of subscriptions. Each of its tools sends a notification.

#![expect(
    deprecated,
    reason = "log messages and legacy subscriptions are deprecated by the protocol, and still in use"
)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler,
    model::*,
    service::{RequestContext, SubscriptionContext},
};
use tokio::{sync::watch, time::timeout};

/// The resource.
pub const URI: &str = "file:///a";

/// A server of one resource, which counts the subscriptions to it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct ResourceServer {
    /// Subscriptions that are open, by resource.
    pub open: Arc<watch::Sender<HashMap<String, usize>>>,
    made: Arc<Mutex<usize>>,
    peers: Arc<Mutex<Vec<Peer<RoleServer>>>>,
    updates: Arc<watch::Sender<u32>>,
    levels: Arc<Mutex<Vec<LoggingLevel>>>,
}

type Context = RequestContext<RoleServer>;

impl ResourceServer {
    /// Waits until so many subscriptions are open.
    ///
    /// # Panics
    /// If that takes longer than 20 seconds.
    pub async fn wait_open(&self, subscriptions: usize) {
        let mut open = self.open.subscribe();
        let reached = open.wait_for(|open| open.values().sum::<usize>() == subscriptions);
        let reached = timeout(Duration::from_secs(20), reached).await;
        assert!(
            reached.is_ok(),
            "{subscriptions} wanted: {:?}",
            self.open.borrow()
        );
    }

    /// Subscriptions that were ever made.
    #[must_use]
    pub fn made(&self) -> usize {
        *self.made.lock()
    }

    /// Levels of log messages, as they were set.
    #[must_use]
    pub fn levels(&self) -> Vec<LoggingLevel> {
        self.levels.lock().clone()
    }

    fn opened(&self, uri: &str) {
        *self.made.lock() += 1;
        self.open
            .send_modify(|open| *open.entry(uri.to_owned()).or_default() += 1);
    }

    fn closed(&self, uri: &str) {
        self.open
            .send_modify(|open| *open.entry(uri.to_owned()).or_default() -= 1);
    }

    /// The resource changes.
    pub async fn update(&self) {
        self.updates.send_modify(|updates| *updates += 1);
        let peers = self.peers.lock().clone();
        for peer in peers {
            let params = ResourceUpdatedNotificationParam::new(URI);
            let _ = peer.notify_resource_updated(params).await;
        }
    }
}

/// A session of the server.
#[derive(Clone, Debug)]
pub struct Session(pub ResourceServer);

impl ServerHandler for Session {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_list_changed()
            .enable_resources_subscribe()
            .enable_logging()
            .build();
        ServerConfig::new(capabilities)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(Vec::new()))
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        self.0.peers.lock().push(context.peer);
        self.0.opened(&request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        self.0.peers.lock().clear();
        self.0.closed(&request.uri);
        Ok(())
    }

    async fn set_level(&self, request: SetLevelRequestParams, _: Context) -> Result<(), ErrorData> {
        self.0.levels.lock().push(request.level);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        for uri in requested.resource_subscriptions.iter().flatten() {
            self.0.opened(uri);
        }
        Some(requested.clone())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let uris = subscription.accepted().resource_subscriptions.clone();
        let uris = uris.unwrap_or_default();
        let mut updates = self.0.updates.subscribe();
        loop {
            tokio::select! {
                () = subscription.cancelled() => break,
                Ok(()) = updates.changed() => for uri in &uris {
                    if subscription.sink().notify_resource_updated(uri.clone()).await.is_err() {
                        break;
                    }
                },
            }
        }
        for uri in &uris {
            self.0.closed(uri);
        }
        Ok(())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let peer = &context.peer;
        match &*request.name {
            "prompts" => peer.notify_prompt_list_changed().await,
            "resources" => peer.notify_resource_list_changed().await,
            "tools" => peer.notify_tool_list_changed().await,
            _ => {
                let message = LoggingMessageNotificationParam::new(
                    LoggingLevel::Info,
                    serde_json::json!("hello"),
                );
                peer.notify_logging_message(message).await
            }
        }
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(CallToolResult::default().into())
    }
}
