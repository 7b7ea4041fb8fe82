//! Raw requests: a method and JSON parameters out, the JSON of the result back.
//!
//! A result that is only passed on is never parsed into types: those drop the fields that they do not know, and parsing is
//! most of what a large reply costs. [`Session::parse`] is for whoever wants the typed form.

use std::fmt;

use rmcp::{
    RoleClient,
    model::{CancelledNotificationParam, ClientRequest, RequestId, RequestMetaObject},
    service::{Peer, PeerRequestOptions, ServiceError},
};
use serde::de::DeserializeOwned;
use serde_json::{json, value::RawValue};
use tokio::runtime::Handle;

use super::Session;
use crate::{connect::decode, progress::ProgressSink};

/// One request, as [`Session::request`] sends it. It borrows its parts, so that it can be sent again.
///
/// ```
/// # use mcp_pool_core::{RawRequest, Session, rmcp::ServiceError};
/// # use serde_json::value::{RawValue, to_raw_value};
/// # async fn example(session: &Session) -> Result<Box<RawValue>, ServiceError> {
/// let params = to_raw_value(&serde_json::json!({"name": "echo", "arguments": {"message": "hi"}})).unwrap();
/// session.request(RawRequest::new("tools/call").params(&params)).await
/// # }
/// ```
#[derive(Clone, Copy)]
#[must_use = "a request does nothing until it is sent"]
pub struct RawRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) params: Option<&'a RawValue>,
    pub(crate) meta: Option<&'a RequestMetaObject>,
    pub(crate) progress: Option<&'a ProgressSink>,
}

impl<'a> RawRequest<'a> {
    /// A request without parameters.
    pub fn new(method: &'a str) -> Self {
        Self {
            method,
            params: None,
            meta: None,
            progress: None,
        }
    }

    /// Sends these parameters, which must be a JSON object. A `_meta` in them is kept.
    pub fn params(mut self, params: &'a RawValue) -> Self {
        self.params = Some(params);
        self
    }

    /// Adds these fields to `_meta`. They replace those of the parameters and those that the session adds by itself; the
    /// progress token is always the session's own.
    pub fn meta(mut self, meta: &'a RequestMetaObject) -> Self {
        self.meta = Some(meta);
        self
    }

    /// Has the progress of this request delivered to `sink`. All of it that was sent before the reply is delivered before
    /// the request ends.
    pub fn progress(mut self, sink: &'a ProgressSink) -> Self {
        self.progress = Some(sink);
        self
    }

    /// The request in rmcp's types.
    fn to_typed(self) -> Result<ClientRequest, serde_json::Error> {
        let request = match self.params {
            Some(params) => json!({"method": self.method, "params": params}),
            None => json!({"method": self.method}),
        };
        serde_json::from_value(request)
    }
}

impl fmt::Debug for RawRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

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
        if exchange.takes(request.method) {
            let sending = exchange.request(request, &self.defaults, &self.progress);
            let reply = sending.await;
            // A list of tools may have shown that rmcp has to see it.
            if reply.is_err() || exchange.takes(request.method) {
                return reply;
            }
        }
        self.while_it_lives(self.request_over_peer(request)).await
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
        let mut abandoned = Abandoned {
            peer: self.peer().clone(),
            id: Some(handle.id.clone()),
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
        self.findings.left_out(notes);
        parsed
    }
}

/// Tells the server of a request whose caller has gone.
struct Abandoned {
    peer: Peer<RoleClient>,
    id: Option<RequestId>,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), Handle::try_current()) else {
            return;
        };
        let peer = self.peer.clone();
        // Ends when the message is out, or the session with its queue is gone.
        runtime.spawn(async move {
            let reason = Some(ABANDONED.to_owned());
            peer.notify_cancelled(CancelledNotificationParam::new(Some(id), reason))
                .await
        });
    }
}

/// The reason in the cancellation of a request whose caller has gone.
pub(crate) const ABANDONED: &str = "request abandoned by the caller";
