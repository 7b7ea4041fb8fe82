//! Raw requests: a method and JSON parameters out, the JSON of the result back.
//!
//! A result that is only passed on is never parsed into types: those drop the fields that they do not know, and parsing is
//! most of what a large reply costs. [`Session::parse`] returns the typed form.

use rmcp::{
    RoleClient,
    model::{CancelledNotificationParam, RequestId, ServerResult},
    service::{Peer, PeerRequestOptions, ServiceError},
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::runtime::Handle;

use super::Session;
use crate::{
    decode,
    raw_request::{ABANDONED, RawRequest, RequestObserver},
};

impl Session {
    /// Sends a request and returns the result as the server wrote it.
    ///
    /// # Errors
    /// [`ServiceError::McpError`] with the code, message and data of the server if it answered with an error;
    /// [`ServiceError::TransportSend`] if the request could not be sent; [`ServiceError::TransportClosed`] if the session
    /// ended before the reply came.
    ///
    /// # Cancel safety
    /// Dropping the future sends `notifications/cancelled` for the request, if it has left. The session stays usable.
    pub async fn request(&self, request: RawRequest<'_>) -> Result<Box<RawValue>, ServiceError> {
        let exchange = self.exchange();
        if exchange.has_way() {
            let sending = exchange.request(request, &self.defaults, &self.progress);
            return sending.await;
        }
        // Boxed: it is large, and nearly all requests go the way above.
        let over_peer = Box::pin(self.request_over_peer(request));
        self.while_it_lives(over_peer).await
    }

    /// For a transport that carries messages of rmcp's types alone: fields that these do not know are lost.
    async fn request_over_peer(
        &self,
        request: RawRequest<'_>,
    ) -> Result<Box<RawValue>, ServiceError> {
        let mut typed = request.to_typed().map_err(decode::unwritable)?;
        let _route = request
            .progress
            .map(|sink| self.on_progress(&mut typed, sink.clone()));
        let mut options = PeerRequestOptions::no_options();
        options.meta = request.meta.cloned();
        let handle = self.send_cancellable_request(typed, options).await?;
        if let Some(observer) = request.observer {
            observer.sent(handle.id.clone(), handle.progress_token.clone());
        }
        let mut abandoned = Abandoned {
            peer: self.peer().clone(),
            id: Some(handle.id.clone()),
            observer: request.observer,
        };
        let reply = handle.await_response().await;
        abandoned.id = None;
        serde_json::value::to_raw_value(&reply?).map_err(decode::unwritable)
    }

    /// Reads a result as a `T`, part by part if it does not fit as a whole: good parts of a list are kept, and content that
    /// has no type becomes text. What was left out is logged, once each. A long result is read off the runtime's workers.
    ///
    /// # Errors
    /// [`ServiceError::UnexpectedResponse`] if the result is no `T`; [`ServiceError::McpError`] with the reason if it cannot
    /// be read at all.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn parse<T>(&self, result: Box<RawValue>) -> Result<T, ServiceError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let (parsed, notes) = decode::parse_result(result).await;
        self.report.left_out(notes);
        parsed
    }

    /// Reads a result as whatever kind of result it is, part by part as [`Session::parse`] does.
    ///
    /// # Errors
    /// As [`Session::parse`].
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn parse_any(&self, result: Box<RawValue>) -> Result<ServerResult, ServiceError> {
        let (parsed, notes) = decode::parse_any(result).await;
        self.report.left_out(notes);
        parsed
    }
}

/// Cancels a request on the server when its caller has gone.
struct Abandoned<'a> {
    peer: Peer<RoleClient>,
    id: Option<RequestId>,
    observer: Option<&'a dyn RequestObserver>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) else {
            return;
        };
        let peer = self.peer.clone();
        let reason = self.observer.and_then(RequestObserver::cancel_reason);
        let reason = reason.unwrap_or_else(|| ABANDONED.to_owned());
        // Ends when the message is out, or the session with its queue is gone.
        runtime.spawn(async move {
            peer.notify_cancelled(CancelledNotificationParam::new(Some(id), Some(reason)))
                .await
        });
    }
}
