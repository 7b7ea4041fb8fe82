//! Notifications of all servers of an aggregate, as one stream.

#![allow(
    deprecated,
    reason = "log messages are deprecated by the protocol, and still part of the plain client"
)]

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use mcp_config::Sharing;
use rmcp::model::LoggingMessageNotificationParam;

use super::{Aggregator, ListChange, ListChanges, subscribed::Updates};
use crate::{
    notifications::{Notification, NotificationStream},
    server::Server,
};

/// What the servers of an [`Aggregator`] have said unasked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AggregateNotification {
    /// Merged lists have changed. Many changes within a short time are one.
    ListsChanged(ListChange),
    /// A resource that this aggregator has subscribed to has changed, or may have while its session was replaced.
    #[non_exhaustive]
    ResourceUpdated {
        /// The resource, by the URI that was subscribed to.
        uri: String,
    },
    /// A log message of a session that is shared with others. Those of sessions that belong to a scope go to the handler
    /// of its [client](Aggregator::with_client).
    #[non_exhaustive]
    Log {
        /// The server.
        server: Arc<str>,
        /// What it logged.
        message: Box<LoggingMessageNotificationParam>,
    },
    /// This reader was too slow: so many notifications of one server are lost to it.
    #[non_exhaustive]
    Missed {
        /// The server.
        server: Arc<str>,
        /// How many.
        count: u64,
    },
}

/// The notifications of all servers of an [`Aggregator`], from when this was made on: [`Aggregator::notifications`].
#[derive(Debug)]
pub struct AggregateNotifications {
    aggregator: Aggregator,
    lists: ListChanges,
    /// Of the sessions that belong to the aggregator's scope.
    scope: Updates,
    servers: Vec<(Arc<str>, NotificationStream)>,
}

impl AggregateNotifications {
    pub(super) fn new(aggregator: Aggregator) -> Self {
        let mut this = Self {
            lists: aggregator.list_changes(),
            scope: aggregator.0.subscribed.changes(),
            servers: Vec::new(),
            aggregator,
        };
        this.follow_servers();
        this
    }

    /// The next notification; `None` once the manager has been shut down.
    ///
    /// # Cancel safety
    /// May be dropped at any point: no notification is lost.
    pub async fn next(&mut self) -> Option<AggregateNotification> {
        loop {
            tokio::select! {
                change = self.lists.next() => {
                    self.follow_servers();
                    return change.map(AggregateNotification::ListsChanged);
                }
                uri = self.scope.next(&self.aggregator.0.subscribed) => {
                    return Some(AggregateNotification::ResourceUpdated { uri });
                }
                (at, notification) = any(&mut self.servers) => match notification {
                    None => drop(self.servers.swap_remove(at)),
                    Some(notification) => {
                        let server = Arc::clone(&self.servers[at].0);
                        if let Some(notification) = self.exposed(server, notification) {
                            return Some(notification);
                        }
                    }
                }
            }
        }
    }

    fn exposed(
        &self,
        server: Arc<str>,
        notification: Notification,
    ) -> Option<AggregateNotification> {
        Some(match notification {
            Notification::ResourceUpdated { uri } => {
                let uri = self.aggregator.0.subscribed.uri(&(server, uri))?;
                AggregateNotification::ResourceUpdated { uri }
            }
            Notification::Log(_) if self.aggregator.has_sessions_of_its_own(&server) => {
                return None;
            }
            Notification::Log(message) => AggregateNotification::Log { server, message },
            Notification::Missed { count } => AggregateNotification::Missed { server, count },
            Notification::ToolsChanged
            | Notification::PromptsChanged
            | Notification::ResourcesChanged => return None,
        })
    }

    /// Reads from all servers that there are by now.
    fn follow_servers(&mut self) {
        let servers = self.aggregator.servers();
        self.servers
            .retain(|(name, _)| servers.iter().any(|server| server.name == *name));
        for server in servers {
            // Pinned sessions say to each scope what is its own.
            if !self.aggregator.is_pinned(&server)
                && self.servers.iter().all(|(name, _)| *name != server.name)
                && let Ok(tools) = self.aggregator.handle(&server.name)
            {
                let stream = tools.notifications();
                self.servers.push((Arc::clone(&server.name), stream));
            }
        }
    }
}

impl Aggregator {
    /// What the servers say unasked, from here on: changes of the merged lists, updates of resources that this aggregator
    /// or a clone of it has subscribed to, log messages with their server. Starts no server.
    ///
    /// Subscriptions are counted: of all aggregators that share a session with others, the first one to subscribe to a
    /// resource asks its server, and the last one to unsubscribe, or to be dropped, ends it there.
    #[must_use]
    pub fn notifications(&self) -> AggregateNotifications {
        AggregateNotifications::new(self.clone())
    }

    fn is_pinned(&self, server: &Server) -> bool {
        self.0.client.is_some() && server.settings().sharing == Sharing::Pinned
    }

    /// Whether its calls run on sessions that no other scope uses. The era of a server decides that, and is known later.
    fn has_sessions_of_its_own(&self, server: &str) -> bool {
        let server = self.0.manager.server(server);
        self.0.client.is_some() && server.is_ok_and(|server| !server.is_shared_by_scopes())
    }
}

/// The next notification of any server, and its place.
async fn any(servers: &mut [(Arc<str>, NotificationStream)]) -> (usize, Option<Notification>) {
    let mut streams: Vec<_> = servers
        .iter_mut()
        .map(|(_, stream)| Box::pin(stream.next()))
        .collect();
    poll_fn(|context| {
        for (at, stream) in streams.iter_mut().enumerate() {
            if let Poll::Ready(notification) = pin!(stream).poll(context) {
                return Poll::Ready((at, notification));
            }
        }
        Poll::Pending
    })
    .await
}
