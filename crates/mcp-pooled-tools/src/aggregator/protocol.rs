//! The rest of the plain client's methods: notifications, and the end of the handle.

use rmcp::{
    model::{ClientNotification, RootsListChangedNotification},
    service::QuitReason,
};
use tokio::task::JoinSet;

use super::Aggregator;
use crate::error::Error;

impl Aggregator {
    /// This client. For code that asks the plain client for its peer.
    #[must_use]
    pub fn peer(&self) -> &Self {
        self
    }

    /// Sends a notification to every server that runs: see
    /// [`PooledTools::send_notification`](crate::PooledTools::send_notification).
    ///
    /// # Errors
    /// [`ErrorKind::Validation`](crate::ErrorKind::Validation) for `notifications/cancelled`, which names a request of one
    /// session. A server that does not take it is passed over.
    ///
    /// # Cancel safety
    /// May be dropped at any point; it may have been sent to some servers.
    pub async fn send_notification(&self, notification: ClientNotification) -> Result<(), Error> {
        let mut sending = JoinSet::new();
        for server in self.servers() {
            if server.runs(self.0.identity.as_ref())
                && let Ok(tools) = self.handle(&server.name)
            {
                let notification = notification.clone();
                sending.spawn(async move { tools.send_notification(notification).await });
            }
        }
        let sent = sending.join_all().await;
        let refused = sent.into_iter().filter_map(Result::err);
        match refused
            .into_iter()
            .find(|error| error.kind() == crate::ErrorKind::Validation)
        {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Notifies every server that runs that the roots have changed.
    ///
    /// # Errors
    /// As [`Aggregator::send_notification`].
    ///
    /// # Cancel safety
    /// As [`Aggregator::send_notification`].
    pub async fn notify_roots_list_changed(&self) -> Result<(), Error> {
        let notification = RootsListChangedNotification::default();
        self.send_notification(ClientNotification::RootsListChangedNotification(
            notification,
        ))
        .await
    }

    /// Whether no call can be made any more: the manager is shut down.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.manager.check_open().is_err()
    }

    /// The same as [`is_closed`](Self::is_closed): a transport that has ended is replaced.
    #[must_use]
    pub fn is_transport_closed(&self) -> bool {
        self.is_closed()
    }

    /// Ends this handle. Servers belong to the manager and stay.
    ///
    /// # Errors
    /// None: the result is that of the plain client's method.
    #[allow(clippy::unused_async, reason = "the same call as on the plain client")]
    pub async fn cancel(self) -> Result<QuitReason, Error> {
        Ok(QuitReason::Cancelled)
    }
}
