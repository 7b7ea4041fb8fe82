//! Who hears what servers say unasked: the cache of tools, and readers of events.

use std::sync::Arc;

use mcp_pool_core::ServerListener;
use rmcp::model::ServerNotification;

use crate::{notifications::Notifications, telemetry::Telemetry};

pub(super) struct Listener {
    pub(super) notifications: Arc<Notifications>,
    pub(super) telemetry: Telemetry,
}

impl ServerListener for Listener {
    fn on_notification(&self, notification: &ServerNotification) {
        // Whoever reads the event finds the cache invalidated.
        self.notifications.on_notification(notification);
        self.telemetry.on_notification(notification);
    }
}
