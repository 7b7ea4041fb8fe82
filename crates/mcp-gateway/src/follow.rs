//! Notifications that belong to no call: changed lists, updated resources, log messages.

#![allow(
    deprecated,
    reason = "log messages are deprecated by the protocol, and servers still send them"
)]

use std::{
    collections::BTreeSet,
    future,
    sync::{Arc, Weak},
};

use futures::StreamExt as _;
use mcp_http_server::Shutdown;
use mcp_pooled_tools::{AggregateNotification, AggregateNotifications, ListChange};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    message,
    questions::is_wanted,
    session::Session,
    stream::{Item, Outbox},
};

/// What a client has not been sent yet.
#[derive(Debug, Default)]
struct Pending {
    lists: ListChange,
    resources: BTreeSet<String>,
}

impl Pending {
    fn add(&mut self, notification: AggregateNotification) {
        match notification {
            AggregateNotification::ListsChanged(change) => {
                self.lists.tools |= change.tools;
                self.lists.prompts |= change.prompts;
                self.lists.resources |= change.resources;
            }
            AggregateNotification::ResourceUpdated { uri, .. }
                if self.resources.len() < MOST_UPDATED =>
            {
                self.resources.insert(uri);
            }
            _ => {}
        }
    }

    /// Takes out what there is.
    fn take(&mut self) -> impl Iterator<Item = (&'static str, Value)> {
        let Self { lists, resources } = std::mem::take(self);
        let lists = [
            (lists.tools, "notifications/tools/list_changed"),
            (lists.prompts, "notifications/prompts/list_changed"),
            (lists.resources, "notifications/resources/list_changed"),
        ];
        let lists = lists.into_iter().filter(|(changed, _)| *changed);
        let lists = lists.map(|(_, method)| (method, json!({})));
        let updated = |uri| ("notifications/resources/updated", json!({ "uri": uri }));
        lists.chain(resources.into_iter().map(updated))
    }
}

/// Passes notifications on to a legacy client. Changes are kept until it has a stream.
pub(crate) async fn session(
    session: Weak<Session>,
    mut notifications: AggregateNotifications,
    end: CancellationToken,
    shutdown: Shutdown,
) {
    let mut pending = Pending::default();
    loop {
        let Some(session) = session.upgrade() else {
            return;
        };
        tokio::select! {
            notification = notifications.next() => match notification {
                None => return,
                // Which client caused a message of a shared session is not known: those get it that asked for some.
                Some(AggregateNotification::Log { message, .. }) => {
                    if session.level().is_some_and(|level| is_wanted(&message, Some(level))) {
                        session.push(Item::Message(message::notification("notifications/message", &message)));
                    }
                }
                Some(notification) => pending.add(notification),
            },
            () = session.attached() => {}
            () = end.cancelled() => return,
            () = shutdown.stopping() => return session.detach(),
        }
        if let Some(stream) = session.stream() {
            for (method, params) in pending.take() {
                stream.push(Item::Message(message::notification(method, &params)));
            }
        }
    }
}

/// What a modern client wants to hear of.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Wanted {
    #[serde(skip_serializing_if = "is_not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "is_not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "is_not")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    resource_subscriptions: BTreeSet<String>,
}

/// Passes notifications on to a modern client until it closes the stream. The last message is the result.
pub(crate) async fn subscription(
    session: Arc<Session>,
    mut wanted: Wanted,
    id: Value,
    outbox: Outbox,
    shutdown: Shutdown,
) {
    let meta = json!({ "io.modelcontextprotocol/subscriptionId": id });
    let push = |method: &str, mut params: Value| {
        params["_meta"] = meta.clone();
        outbox.push(Item::Message(message::notification(method, &params)));
    };
    let mut notifications = session.view.notifications();
    let asked = std::mem::take(&mut wanted.resource_subscriptions);
    // What has begun is finished, so that what the server took is counted.
    let has_gone = || outbox.is_closed() || session.end.is_cancelled();
    let subscribing = futures::stream::iter(asked.into_iter().take(MOST_UPDATED)).map(|uri| {
        let (session, has_gone) = (&session, &has_gone);
        async move { (!has_gone() && session.subscribe(&uri).await).then_some(uri) }
    });
    let subscribed = subscribing.buffer_unordered(AT_ONCE);
    wanted.resource_subscriptions = subscribed.filter_map(future::ready).collect().await;
    if has_gone() {
        return unsubscribe(&session, wanted.resource_subscriptions).await;
    }
    push(
        "notifications/subscriptions/acknowledged",
        json!({ "notifications": wanted }),
    );
    let mut pending = Pending::default();
    let closed = loop {
        tokio::select! {
            notification = notifications.next() => match notification {
                None => break false,
                Some(notification) => pending.add(notification),
            },
            () = outbox.closed() => break true,
            () = session.end.cancelled() => break false,
            () = shutdown.stopping() => break false,
        }
        pending.lists.tools &= wanted.tools_list_changed;
        pending.lists.prompts &= wanted.prompts_list_changed;
        pending.lists.resources &= wanted.resources_list_changed;
        // Others that share the session may have subscribed to more.
        pending
            .resources
            .retain(|uri| wanted.resource_subscriptions.contains(uri));
        for (method, params) in pending.take() {
            push(method, params);
        }
    };
    if !closed {
        let result = json!({ "resultType": "complete", "_meta": meta });
        outbox.push(Item::Last(Ok(message::json(&result))));
    }
    unsubscribe(&session, wanted.resource_subscriptions).await;
}

async fn unsubscribe(session: &Session, uris: BTreeSet<String>) {
    let leaving = futures::stream::iter(uris);
    let leaving = leaving.for_each_concurrent(AT_ONCE, |uri| async move {
        session.unsubscribe(&uri).await;
    });
    leaving.await;
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_not(wanted: &bool) -> bool {
    !wanted
}

/// Requests about resources that a subscription has under way.
const AT_ONCE: usize = 16;
/// Resources of one subscription, and updated ones that are kept for a client without a stream.
const MOST_UPDATED: usize = 1_000;
