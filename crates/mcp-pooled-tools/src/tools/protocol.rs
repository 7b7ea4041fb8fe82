//! Requests and notifications of any kind, and the end of the handle: the rest of the plain client's methods.

use mcp_config::Sharing;
use mcp_pool_core::Session;
use rmcp::{
    model::{ClientNotification, ClientRequest, RootsListChangedNotification},
    service::{PeerRequestOptions, QuitReason},
};
use tokio::{task::JoinSet, time::timeout};

use super::PooledTools;
use crate::{
    error::{Error, ErrorKind},
    pending::PendingRequest,
};

impl PooledTools {
    /// These tools. For code that asks the plain client for its peer.
    #[must_use]
    pub fn peer(&self) -> &Self {
        self
    }

    /// Sends any request, whose reply is awaited, or which is cancelled, by what is returned. `timeout` limits the whole
    /// request, the wait for a session included; the default is `call_timeout`. The request is not repeated.
    ///
    /// # Errors
    /// Any [`Error`] of acquiring a session, or of sending.
    ///
    /// # Cancel safety
    /// May be dropped at any point: the request is cancelled.
    pub async fn send_cancellable_request(
        &self,
        request: ClientRequest,
        options: PeerRequestOptions,
    ) -> Result<PendingRequest, Error> {
        PendingRequest::start(self.clone(), request, options).await
    }

    /// Sends a notification on every live session; where sessions are pinned, on that of this scope alone, and where they
    /// belong to scopes with a [client](PooledTools::with_client), on that of this scope if it has one.
    ///
    /// # Errors
    /// [`ErrorKind::Validation`](crate::ErrorKind::Validation) for `notifications/cancelled`: it names a request of one
    /// session, and would cancel those of others. Use [`PendingRequest::cancel`]. Where sessions are pinned, any
    /// [`Error`] of acquiring one. A session that has ended, or does not read, is passed over.
    ///
    /// # Cancel safety
    /// May be dropped at any point; it may have been sent on some sessions.
    pub async fn send_notification(&self, notification: ClientNotification) -> Result<(), Error> {
        if matches!(notification, ClientNotification::CancelledNotification(_)) {
            let message = "notifications/cancelled belongs to one session: cancel the request by its `PendingRequest`";
            return Err(Error::new(ErrorKind::Validation, message).of(&self.server.name));
        }
        let pool = match self.scope.client() {
            Some(_) => self.pool_to_call(None)?,
            None => self.pool()?,
        };
        let snapshot = pool.snapshot();
        let limit = snapshot.settings.probe_timeout;
        if snapshot.settings.sharing == Sharing::Pinned {
            let lease = pool.acquire(&self.scope, false).await?;
            let _ = timeout(limit, lease.send_notification(notification)).await;
            return Ok(());
        }
        if snapshot.scoped {
            if let Some(session) = self.scope.session() {
                let _ = timeout(limit, session.send_notification(notification)).await;
            }
            return Ok(());
        }
        let mut sending = JoinSet::new();
        for session in snapshot.pool.sessions() {
            let notification = notification.clone();
            sending.spawn(async move {
                let session: &Session = &session;
                let _ = timeout(limit, session.send_notification(notification)).await;
            });
        }
        sending.join_all().await;
        Ok(())
    }

    /// Notifies every live session that the roots have changed.
    ///
    /// # Errors
    /// As [`PooledTools::send_notification`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::send_notification`].
    pub async fn notify_roots_list_changed(&self) -> Result<(), Error> {
        let notification = RootsListChangedNotification::default();
        self.send_notification(ClientNotification::RootsListChangedNotification(
            notification,
        ))
        .await
    }

    /// Whether no call can be made any more: the manager is shut down, or the server has gone from its configuration.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.server.check_usable().is_err()
    }

    /// The same as [`is_closed`](Self::is_closed): a transport that has ended is replaced.
    #[must_use]
    pub fn is_transport_closed(&self) -> bool {
        self.is_closed()
    }

    /// Ends this handle. Sessions belong to the manager and stay:
    /// [`ConnectionManager::shutdown`](crate::ConnectionManager::shutdown) ends them. A pinned session ends with the last
    /// handle of its scope.
    ///
    /// # Errors
    /// None: the result is that of the plain client's method.
    #[allow(clippy::unused_async, reason = "the same call as on the plain client")]
    pub async fn cancel(self) -> Result<QuitReason, Error> {
        Ok(QuitReason::Cancelled)
    }
}
