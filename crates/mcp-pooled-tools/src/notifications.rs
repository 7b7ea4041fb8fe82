//! Notifications of one server: delivered to the tool cache, to events and to public streams.
//!
//! Every session of a pool reports here. The tool cache comes first and in the order of the wire, so that it drops a list
//! that was requested before the change.

#![allow(
    deprecated,
    reason = "log messages are deprecated by the protocol, and still part of the plain client"
)]

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use mcp_pool_core::ServerListener;
use parking_lot::Mutex;
use rmcp::model::{LoggingMessageNotificationParam, ServerNotification};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    telemetry::Telemetry,
    tool_cache::{self, ToolCache},
};

/// Notifications that are kept for a reader that is slower than its server.
const KEPT: usize = 1_024;

/// A notification from a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notification {
    /// The tools have changed, or may have changed while no session was subscribed. Each session reports the change, so
    /// that one change may be reported more than once. The same holds for the other lists.
    ToolsChanged,
    /// The prompts have changed, or may have.
    PromptsChanged,
    /// The resources have changed, or may have.
    ResourcesChanged,
    /// A resource that was [subscribed](crate::Client::subscribe) to has changed, or may have while its session was
    /// replaced.
    ResourceUpdated {
        /// The resource.
        uri: String,
    },
    /// A log message.
    Log(Box<LoggingMessageNotificationParam>),
    /// This reader was too slow: so many notifications are lost to it.
    Missed {
        /// How many.
        count: u64,
    },
}

/// The notifications of one server, from when this was made on.
///
/// The last 1,024 are kept for a reader that is slower than they come.
#[derive(Debug)]
pub struct NotificationStream(broadcast::Receiver<Notification>);

impl NotificationStream {
    /// A stream that has ended.
    pub(crate) fn ended() -> Self {
        Self(broadcast::channel(1).1)
    }

    /// The next notification; `None` once the manager and all handles of the server are gone.
    ///
    /// # Cancel safety
    /// May be dropped at any point: no notification is lost.
    pub async fn next(&mut self) -> Option<Notification> {
        match self.0.recv().await {
            Ok(notification) => Some(notification),
            Err(RecvError::Lagged(count)) => Some(Notification::Missed { count }),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Receives the notifications of all sessions of one pool.
pub(crate) struct Notifications {
    pub(crate) tools: Arc<ToolCache>,
    telemetry: Telemetry,
    /// Made with the first stream: it has room for all that are kept.
    sender: OnceLock<broadcast::Sender<Notification>>,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    sessions: usize,
    /// A session was subscribed before.
    before: bool,
}

impl Notifications {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self {
            tools: Arc::default(),
            telemetry,
            sender: OnceLock::new(),
            listeners: Mutex::default(),
        }
    }

    pub(crate) fn stream(&self) -> NotificationStream {
        let sender = self.sender.get_or_init(|| broadcast::channel(KEPT).0);
        NotificationStream(sender.subscribe())
    }

    fn readers(&self) -> usize {
        self.sender
            .get()
            .map_or(0, broadcast::Sender::receiver_count)
    }

    pub(crate) fn report(&self, notification: Notification) {
        if let Some(sender) = self.sender.get() {
            // An error means that there is no reader.
            let _ = sender.send(notification);
        }
    }

    /// A session is subscribed to changes until the returned value is dropped.
    pub(crate) fn listen(self: &Arc<Self>) -> Listening {
        let tools = self.tools.listen();
        let mut listeners = self.listeners.lock();
        listeners.sessions += 1;
        let missed = listeners.sessions == 1 && listeners.before;
        listeners.before = true;
        drop(listeners);
        if missed {
            self.report(Notification::ToolsChanged);
            self.report(Notification::PromptsChanged);
            self.report(Notification::ResourcesChanged);
        }
        Listening {
            notifications: Arc::clone(self),
            _tools: tools,
        }
    }
}

/// A session that is subscribed to changes.
pub(crate) struct Listening {
    notifications: Arc<Notifications>,
    _tools: tool_cache::Listening,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.notifications.listeners.lock().sessions -= 1;
    }
}

impl ServerListener for Notifications {
    fn on_notification(&self, notification: &ServerNotification) {
        // A reader of what follows finds the cache invalidated.
        self.tools.on_notification(notification);
        let has_readers = self.readers() > 0;
        let (notification, list) = match notification {
            ServerNotification::ToolListChangedNotification(_) => {
                (Notification::ToolsChanged, Some("tools/list"))
            }
            ServerNotification::PromptListChangedNotification(_) => {
                (Notification::PromptsChanged, Some("prompts/list"))
            }
            ServerNotification::ResourceListChangedNotification(_) => {
                (Notification::ResourcesChanged, Some("resources/list"))
            }
            ServerNotification::ResourceUpdatedNotification(updated) if has_readers => {
                let uri = updated.params.uri.clone();
                (Notification::ResourceUpdated { uri }, None)
            }
            ServerNotification::LoggingMessageNotification(message) if has_readers => {
                (Notification::Log(Box::new(message.params.clone())), None)
            }
            _ => return,
        };
        if let Some(list) = list {
            self.telemetry.list_changed(list);
        }
        self.report(notification);
    }
}

impl fmt::Debug for Notifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications")
            .field("readers", &self.readers())
            .finish_non_exhaustive()
    }
}
