//! A handler as callers lend it to a session.

#![allow(deprecated, reason = "logging is deprecated, and still in use")]

use std::{future::pending, sync::Arc};

use mcp_pool_core::rmcp::{
    ErrorData, RoleClient, Service,
    model::{ClientConfig, ClientResult, ServerNotification, ServerRequest},
    service::{NotificationContext, RequestContext},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::yield_now;

/// Keeps what log messages say, and never answers. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Keeper(Arc<Mutex<Vec<Value>>>);

impl Keeper {
    /// What has come since it was last asked.
    pub(crate) fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Service<RoleClient> for Keeper {
    async fn handle_request(
        &self,
        _: ServerRequest,
        _: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        pending().await
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        _: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        yield_now().await;
        if let ServerNotification::LoggingMessageNotification(message) = notification {
            self.0.lock().push(message.params.data);
        }
        Ok(())
    }

    fn get_info(&self) -> ClientConfig {
        ClientConfig::default()
    }
}
