//! Requests and notifications of any kind, and the end of the handle: the rest of the plain client's methods.

use mcp_config::Sharing;
use mcp_pool_core::Session;
use rmcp::{
    model::{
        CallToolRequestParams, CallToolResult, ClientNotification, ClientRequest,
        GetPromptRequestParams, GetPromptResult, ReadResourceRequestParams, ReadResourceResult,
        RootsListChangedNotification, ServerResult,
    },
    service::{PeerRequestOptions, QuitReason},
};
use tokio::{task::JoinSet, time::timeout};

use super::PooledTools;
use crate::{
    call::CallOptions,
    classify::Verdict,
    error::{Error, ErrorKind},
    operation::Operation,
    pending::PendingRequest,
};

impl PooledTools {
    /// These tools. For code that asks the plain client for its peer.
    #[must_use]
    pub fn peer(&self) -> &Self {
        self
    }

    /// Calls a tool, and answers at most so many rounds of input.
    ///
    /// # Errors
    /// As [`PooledTools::call_tool`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::call_tool`].
    pub async fn call_tool_with_mrtr_max_rounds(
        &self,
        params: CallToolRequestParams,
        max_rounds: usize,
    ) -> Result<CallToolResult, Error> {
        let options = CallOptions::new().max_rounds(max_rounds);
        self.call_tool_with(params, options).await
    }

    /// Fills in a prompt, and answers at most so many rounds of input.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::get_prompt_with`].
    pub async fn get_prompt_with_mrtr_max_rounds(
        &self,
        params: GetPromptRequestParams,
        max_rounds: usize,
    ) -> Result<GetPromptResult, Error> {
        let options = CallOptions::new().max_rounds(max_rounds);
        self.get_prompt_with(params, options).await
    }

    /// Reads a resource, and answers at most so many rounds of input.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::get_prompt_with`].
    pub async fn read_resource_with_mrtr_max_rounds(
        &self,
        params: ReadResourceRequestParams,
        max_rounds: usize,
    ) -> Result<ReadResourceResult, Error> {
        let options = CallOptions::new().max_rounds(max_rounds);
        self.read_resource_with(params, options).await
    }

    /// Makes any request. A tool call made this way is not validated.
    ///
    /// # Errors
    /// Any [`Error`].
    ///
    /// # Cancel safety
    /// As [`PooledTools::call_tool`].
    pub async fn send_request(&self, request: ClientRequest) -> Result<ServerResult, Error> {
        let (operation, request) = (Operation::of(&request), &request);
        self.run(operation, None, |session, _| async move {
            session.send_request(request.clone()).await
        })
        .await
    }

    /// Sends any request, whose answer is awaited, or which is cancelled, by what is returned. It has a place on a
    /// session until then. Of the options, `timeout` limits the wait for a session and for the answer, each.
    ///
    /// # Errors
    /// Any [`Error`] of acquiring a session, or of sending.
    ///
    /// # Cancel safety
    /// May be dropped at any point; the request may have been sent.
    pub async fn send_cancellable_request(
        &self,
        request: ClientRequest,
        options: PeerRequestOptions,
    ) -> Result<PendingRequest, Error> {
        let operation = Operation::of(&request);
        let pool = self.pool()?;
        let limit = options.timeout.unwrap_or(pool.settings().call_timeout);
        let permit = pool.permit()?;
        let acquired = pool.acquire(&self.scope).await;
        let verdict = match &acquired {
            Ok(_) => Verdict::Nothing,
            Err(error) => Verdict::without_session(error, permit.is_probe()),
        };
        verdict.record(permit);
        PendingRequest::send(pool, acquired?, operation, request, options, limit).await
    }

    /// Sends a notification on every live session; where sessions are pinned, on that of this scope alone.
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
        let pool = self.pool()?;
        let current = pool.current();
        let limit = current.settings.probe_timeout;
        if current.settings.sharing == Sharing::Pinned {
            let lease = pool.acquire(&self.scope).await?;
            let _ = timeout(limit, lease.send_notification(notification)).await;
            return Ok(());
        }
        let mut sending = JoinSet::new();
        for session in current.pool.sessions() {
            let notification = notification.clone();
            sending.spawn(async move {
                let session: &Session = &session;
                let _ = timeout(limit, session.send_notification(notification)).await;
            });
        }
        sending.join_all().await;
        Ok(())
    }

    /// Tells every live session that the roots have changed.
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
