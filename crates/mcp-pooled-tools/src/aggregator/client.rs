//! The client of an aggregator's scope: what is declared to servers, and what answers them.

use std::{fmt, sync::Arc};

use mcp_pool_core::CallerHandler;
use rmcp::{
    ErrorData, RoleClient,
    model::{ClientConfig, ClientResult, ServerNotification, ServerRequest},
    service::{NotificationContext, RequestContext, Service},
};

use super::subscribed::Subscribed;

/// The server of an aggregate that a message is from, by its configured name.
///
/// It is among the `extensions` of the context of every request and notification that a handler of an
/// [`Aggregator`](crate::Aggregator) receives, whether the handler is that of
/// [`with_client`](crate::Aggregator::with_client) or of one request.
///
/// ```
/// # use mcp_pooled_tools::{FromServer, rmcp::{RoleClient, service::RequestContext}};
/// fn server(context: &RequestContext<RoleClient>) -> Option<&str> {
///     let from: &FromServer = context.extensions.get()?;
///     Some(&from.0)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FromServer(pub Arc<str>);

/// What [`Aggregator::with_client`](super::Aggregator::with_client) was given.
#[derive(Clone)]
pub(super) struct AggregateClient {
    pub(super) info: ClientConfig,
    pub(super) handler: CallerHandler,
}

impl fmt::Debug for AggregateClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregateClient")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// A handler that receives the name of the server that asks. Updates of resources are reported, too.
pub(super) struct Named {
    pub(super) server: Arc<str>,
    pub(super) handler: CallerHandler,
    pub(super) subscribed: Arc<Subscribed>,
}

impl Service<RoleClient> for Named {
    async fn handle_request(
        &self,
        request: ServerRequest,
        mut context: RequestContext<RoleClient>,
    ) -> Result<ClientResult, ErrorData> {
        let from = FromServer(Arc::clone(&self.server));
        context.extensions.insert(from);
        self.handler.handle_request(request, context).await
    }

    async fn handle_notification(
        &self,
        notification: ServerNotification,
        mut context: NotificationContext<RoleClient>,
    ) -> Result<(), ErrorData> {
        if let ServerNotification::ResourceUpdatedNotification(updated) = &notification {
            self.subscribed.updated(&self.server, &updated.params.uri);
        }
        let from = FromServer(Arc::clone(&self.server));
        context.extensions.insert(from);
        self.handler
            .handle_notification(notification, context)
            .await
    }

    fn get_info(&self) -> ClientConfig {
        self.handler.get_info()
    }
}
