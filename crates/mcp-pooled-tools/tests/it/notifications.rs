//! Notifications: changes of lists, updates of resources, log messages.

#![allow(
    deprecated,
    reason = "log messages and legacy subscriptions are still in use"
)]

use std::time::Duration;

use mcp_pooled_tools::{
    Client, ConnectionManager, Notification, NotificationStream, PoolSettings, PooledTools,
    config::Lifecycle, core::connect::in_process::InProcess,
};
use mcp_testkit::resource_server::{ResourceServer, Session, URI};
use rmcp::model::*;
use tokio::time::timeout;

pub(crate) const ERAS: [Lifecycle; 2] = [Lifecycle::Initialize, Lifecycle::Discover];

async fn manager(era: Lifecycle) -> (ResourceServer, ConnectionManager, PooledTools) {
    let said = ResourceServer::default();
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
        assert_eq!(said.made(), 1, "{era}");
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
        assert_eq!(said.made(), 2, "{era}");
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
