//! Who hears what servers say unasked: the cache of tools, and readers of events.

use std::sync::Arc;

use mcp_pool_core::ServerListener;
use rmcp::model::ServerNotification;

use crate::{notifications::Notifications, recording::Recording};

pub(super) struct Listener {
    pub(super) notifications: Arc<Notifications>,
    pub(super) recording: Recording,
}

impl ServerListener for Listener {
    fn on_notification(&self, notification: &ServerNotification) {
        // Whoever reads the event finds the cache invalidated.
        self.notifications.on_notification(notification);
        self.recording.on_notification(notification);
    }
}
