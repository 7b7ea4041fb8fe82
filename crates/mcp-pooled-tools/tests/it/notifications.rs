//! Notifications: changes of lists, updates of resources, log messages.

#![allow(
    deprecated,
    reason = "log messages and legacy subscriptions are still in use"
)]

use std::{collections::HashMap, sync::Arc, time::Duration};

use mcp_pooled_tools::{
    Client, ConnectionManager, Notification, NotificationStream, PoolSettings, PooledTools,
    config::Lifecycle, core::connect::in_process::InProcess,
};
use parking_lot::Mutex;
use rmcp::{
    ErrorData, Peer, RoleServer, ServerHandler,
    model::*,
    service::{RequestContext, SubscriptionContext},
};
use tokio::{sync::watch, time::timeout};

pub(crate) const URI: &str = "file:///a";
pub(crate) const ERAS: [Lifecycle; 2] = [Lifecycle::Initialize, Lifecycle::Discover];

/// Subscriptions that are open on the server, by session and resource, and the peers of legacy sessions.
#[derive(Clone, Default)]
pub(crate) struct Said {
    open: Arc<watch::Sender<HashMap<String, usize>>>,
    /// Subscriptions that were ever made.
    made: Arc<Mutex<usize>>,
    peers: Arc<Mutex<Vec<Peer<RoleServer>>>>,
    updates: Arc<watch::Sender<u32>>,
    /// Levels of log messages, as they were set.
    pub(crate) levels: Arc<Mutex<Vec<LoggingLevel>>>,
}

type Context = RequestContext<RoleServer>;

impl Said {
    pub(crate) async fn wait_open(&self, subscriptions: usize) {
        let mut open = self.open.subscribe();
        let reached = open.wait_for(|open| open.values().sum::<usize>() == subscriptions);
        let reached = timeout(Duration::from_secs(20), reached).await;
        assert!(
            reached.is_ok(),
            "{subscriptions} wanted: {:?}",
            self.open.borrow()
        );
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
    pub(crate) async fn update(&self) {
        self.updates.send_modify(|updates| *updates += 1);
        let peers = self.peers.lock().clone();
        for peer in peers {
            let params = ResourceUpdatedNotificationParam::new(URI);
            let _ = peer.notify_resource_updated(params).await;
        }
    }
}

/// A session of the server.
#[derive(Clone)]
pub(crate) struct Session(pub(crate) Said);

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

async fn manager(era: Lifecycle) -> (Said, ConnectionManager, PooledTools) {
    let said = Said::default();
    let server = said.clone();
    let manager = ConnectionManager::builder()
        .connector(
            "test",
            InProcess::new(move || Session(server.clone())),
            PoolSettings::new().lifecycle(era),
        )
        .build()
        .await
        .unwrap();
    let tools = manager.tools("test").unwrap();
    (said, manager, tools)
}

async fn subscribe(tools: &PooledTools) {
    tools
        .subscribe(SubscribeRequestParams::new(URI))
        .await
        .unwrap();
}

async fn unsubscribe(tools: &PooledTools) {
    tools
        .unsubscribe(UnsubscribeRequestParams::new(URI))
        .await
        .unwrap();
}

async fn updated(notifications: &mut NotificationStream) {
    let next = timeout(Duration::from_secs(20), notifications.next());
    let next = next.await.unwrap();
    assert!(
        matches!(&next, Some(Notification::ResourceUpdated { uri }) if uri == URI),
        "{next:?}"
    );
}

#[tokio::test]
async fn the_last_of_three_subscribers_ends_the_servers_subscription() {
    for era in ERAS {
        let (said, manager, tools) = manager(era).await;
        let callers = [0, 1, 2].map(|_| manager.tools("test").unwrap());
        let mut notifications = tools.notifications();
        for caller in &callers {
            subscribe(caller).await;
        }
        said.wait_open(1).await;
        said.update().await;
        updated(&mut notifications).await;
        unsubscribe(&callers[0]).await;
        // It has left, and leaves nothing of the others by leaving again.
        unsubscribe(&callers[0]).await;
        unsubscribe(&callers[1]).await;
        said.wait_open(1).await;
        // The last one goes without a word.
        let [.., last] = callers;
        drop(last);
        said.wait_open(0).await;
        assert_eq!(*said.made.lock(), 1, "{era}");
        // The next one begins again.
        subscribe(&tools).await;
        said.wait_open(1).await;
        unsubscribe(&tools).await;
        said.wait_open(0).await;
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_caller_leaves_a_resource_only_if_it_has_subscribed_to_it_itself() {
    const OTHER: &str = "file:///b";
    for era in ERAS {
        let (said, manager, tools) = manager(era).await;
        let other = manager.tools("test").unwrap();
        subscribe(&tools).await;
        let subscribed = other.subscribe(SubscribeRequestParams::new(OTHER));
        subscribed.await.unwrap();
        unsubscribe(&other).await;
        let left = other.unsubscribe(UnsubscribeRequestParams::new(OTHER));
        left.await.unwrap();
        let mut open = said.open.subscribe();
        let one_left = open.wait_for(|open| {
            open.get(URI) == Some(&1) && open.get(OTHER).is_none_or(|open| *open == 0)
        });
        let one_left = timeout(Duration::from_secs(20), one_left).await;
        assert!(one_left.is_ok(), "{era}: {:?}", said.open.borrow());
        drop(one_left);
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn after_a_session_is_replaced_the_subscription_is_made_again_and_an_update_is_signalled() {
    for era in ERAS {
        let (said, manager, tools) = manager(era).await;
        let mut notifications = tools.notifications();
        subscribe(&tools).await;
        said.wait_open(1).await;
        manager.drain("test").await.unwrap();
        // Whether an update came in between is not known.
        loop {
            let next = timeout(Duration::from_secs(20), notifications.next());
            match next.await.unwrap() {
                Some(Notification::ResourceUpdated { .. }) => break,
                Some(_) => {}
                None => panic!("{era}: the stream has ended"),
            }
        }
        assert_eq!(*said.made.lock(), 2, "{era}");
        said.update().await;
        updated(&mut notifications).await;
        let shutdown = timeout(Duration::from_secs(20), manager.shutdown());
        assert!(
            shutdown.await.is_ok(),
            "{era}: a subscription holds nothing up"
        );
    }
}

#[tokio::test]
async fn list_changes_and_log_messages_reach_the_stream_in_their_order() {
    let (_, manager, tools) = manager(Lifecycle::Initialize).await;
    let mut notifications = tools.notifications();
    for what in ["prompts", "resources", "log", "tools"] {
        let params = CallToolRequestParams::new(what);
        Client::call_tool(&tools, params).await.unwrap();
    }
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(match notifications.next().await.unwrap() {
            Notification::PromptsChanged => "prompts",
            Notification::ResourcesChanged => "resources",
            Notification::ToolsChanged => "tools",
            Notification::Log(message) if message.data == "hello" => "log",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(heard, ["prompts", "resources", "log", "tools"]);
    drop(tools);
    manager.shutdown().await;
}
