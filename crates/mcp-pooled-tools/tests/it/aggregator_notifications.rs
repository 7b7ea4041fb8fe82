//! Notifications of the servers of an aggregate.

#![allow(
    deprecated,
    reason = "log messages and legacy subscriptions are still in use"
)]

use std::time::Duration;

use mcp_pooled_tools::{
    AggregateNotification, AggregateNotifications, Aggregator, ConnectionManager, PoolSettings,
    config::Lifecycle, core::connect::in_process::InProcess,
};
use mcp_testkit::{
    TestServer,
    process::wait_until,
    resource_server::{ResourceServer, Session},
};
use rmcp::{
    ClientHandler, RoleClient,
    model::{
        ClientConfig, LoggingLevel, ResourceUpdatedNotificationParam, SetLevelRequestParams,
        SubscribeRequestParams, UnsubscribeRequestParams,
    },
    service::NotificationContext,
};
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use crate::{aggregator::servers, common::LONG, notifications::ERAS};

const OF_ONE: &str = "mcp+one:file%3A%2F%2F%2Fa";
const OF_TWO: &str = "mcp+two:file%3A%2F%2F%2Fa";

async fn two(era: Lifecycle) -> (ResourceServer, ResourceServer, ConnectionManager) {
    let (one, two) = (ResourceServer::default(), ResourceServer::default());
    let mut builder = ConnectionManager::builder();
    for (name, server) in [("one", one.clone()), ("two", two.clone())] {
        let connector = InProcess::new(move || Session(server.clone()));
        let settings = PoolSettings::new().min_connections(0).lifecycle(era);
        builder = builder.connector(name, connector, settings);
    }
    let manager = builder.build().await.unwrap();
    manager.aggregator().list_all_tools().await.unwrap();
    (one, two, manager)
}

async fn subscribe(all: &Aggregator, uri: &str) {
    let params = SubscribeRequestParams::new(uri);
    all.subscribe(params).await.unwrap();
}

async fn unsubscribe(all: &Aggregator, uri: &str) {
    let params = UnsubscribeRequestParams::new(uri);
    all.unsubscribe(params).await.unwrap();
}

async fn next(notifications: &mut AggregateNotifications) -> AggregateNotification {
    let next = timeout(LONG, notifications.next()).await;
    next.unwrap().unwrap()
}

async fn updated(notifications: &mut AggregateNotifications) -> String {
    match next(notifications).await {
        AggregateNotification::ResourceUpdated { uri, .. } => uri,
        other => panic!("{other:?}"),
    }
}

async fn is_silent(notifications: &mut AggregateNotifications) -> bool {
    let heard = timeout(Duration::from_millis(100), notifications.next()).await;
    heard.is_err()
}

#[tokio::test]
async fn updates_and_log_messages_of_all_servers_name_what_the_aggregate_calls_them() {
    for era in ERAS {
        let (one, two, manager) = two(era).await;
        let all = manager.aggregator();
        let mut heard = all.notifications();
        subscribe(&all, OF_ONE).await;
        subscribe(&all, OF_TWO).await;
        one.update().await;
        assert_eq!(updated(&mut heard).await, OF_ONE, "{era}");
        two.update().await;
        assert_eq!(updated(&mut heard).await, OF_TWO, "{era}");
        let log = manager.tools("two").unwrap().call("log", json!({})).await;
        log.unwrap();
        match next(&mut heard).await {
            AggregateNotification::Log {
                server, message, ..
            } => assert_eq!((&*server, &message.data), ("two", &json!("hello"))),
            other => panic!("{other:?}"),
        }
        // Another aggregator has subscribed to nothing.
        let mut other = manager.aggregator().notifications();
        one.update().await;
        assert_eq!(updated(&mut heard).await, OF_ONE, "{era}");
        assert!(is_silent(&mut other).await);
        manager.shutdown().await;
        assert!(heard.next().await.is_none());
    }
}

#[tokio::test]
async fn the_last_aggregator_to_leave_a_resource_ends_its_subscription() {
    for era in ERAS {
        let (one, _two, manager) = two(era).await;
        let (alice, bob) = (manager.aggregator(), manager.aggregator());
        let mut heard = bob.notifications();
        subscribe(&alice, OF_ONE).await;
        subscribe(&bob, OF_ONE).await;
        one.wait_open(1).await;
        unsubscribe(&alice, OF_ONE).await;
        one.update().await;
        assert_eq!(updated(&mut heard).await, OF_ONE, "{era}");
        drop((heard, bob));
        one.wait_open(0).await;
        manager.shutdown().await;
    }
}

/// A client that can do nothing.
struct Plain;

impl ClientHandler for Plain {}

#[tokio::test]
async fn a_subscription_of_one_client_is_no_other_client_s() {
    for era in ERAS {
        let (one, _two, manager) = two(era).await;
        let client = || {
            manager
                .aggregator()
                .with_client(ClientConfig::default(), Plain)
        };
        let (alice, bob) = (client(), client());
        let (mut of_alice, mut of_bob) = (alice.notifications(), bob.notifications());
        subscribe(&alice, OF_ONE).await;
        one.update().await;
        assert_eq!(updated(&mut of_alice).await, OF_ONE, "{era}");
        assert!(is_silent(&mut of_bob).await, "{era}");
        unsubscribe(&alice, OF_ONE).await;
        one.wait_open(0).await;
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn servers_log_at_the_most_verbose_level_that_a_client_has_set() {
    let (one, _two, manager) = two(Lifecycle::Initialize).await;
    let (alice, bob) = (manager.aggregator(), manager.aggregator());
    let set = async |client: &Aggregator, level| {
        let params = SetLevelRequestParams::new(level);
        client.set_level(params).await.unwrap();
        *one.levels().last().unwrap()
    };
    assert_eq!(
        set(&alice, LoggingLevel::Warning).await,
        LoggingLevel::Warning
    );
    assert_eq!(set(&bob, LoggingLevel::Debug).await, LoggingLevel::Debug);
    assert_eq!(set(&alice, LoggingLevel::Error).await, LoggingLevel::Debug);
    drop(bob);
    // Those that are left want less.
    let lowered = || one.levels().last() == Some(&LoggingLevel::Error);
    assert!(wait_until(LONG, lowered).await);

    // A session that is opened later, in whatever pool, logs at that level, too.
    let before = one.levels().len();
    let other = alice.with_client(ClientConfig::default(), Plain);
    subscribe(&other, OF_ONE).await;
    assert_eq!(one.levels()[before..], [LoggingLevel::Error]);
    manager.shutdown().await;
}

struct Updates(mpsc::UnboundedSender<String>);

impl ClientHandler for Updates {
    async fn on_resource_updated(
        &self,
        updated: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        let _ = self.0.send(updated.uri);
    }
}

#[tokio::test]
async fn a_client_in_this_process_receives_updates_of_its_resources() {
    let (_one, two, manager) = two(Lifecycle::Discover).await;
    let (sender, mut heard) = mpsc::unbounded_channel();
    let all = manager.aggregator();
    let client = all.serve_in_process_with(Updates(sender)).await.unwrap();
    client
        .subscribe(SubscribeRequestParams::new(OF_TWO))
        .await
        .unwrap();
    two.update().await;
    let uri = timeout(LONG, heard.recv()).await.unwrap();
    assert_eq!(uri.as_deref(), Some(OF_TWO));
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_reaches_a_reader_that_looks_for_a_moment_at_a_time() {
    let server = TestServer::new();
    let manager = servers(&[("one", &server)], |builder| builder).await;
    let all = manager.aggregator();
    all.list_all_tools().await.unwrap();
    let mut changes = all.list_changes();
    let tools = manager.tools("one").unwrap();
    let names = json!({ "names": ["set_tools", "fresh"] });
    tools.call("set_tools", names).await.unwrap();
    let looking = async {
        loop {
            if let Ok(change) = timeout(Duration::from_millis(10), changes.next()).await {
                return change.unwrap();
            }
        }
    };
    assert!(timeout(LONG, looking).await.unwrap().tools);
    manager.shutdown().await;
}
