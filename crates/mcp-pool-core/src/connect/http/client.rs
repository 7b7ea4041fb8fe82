//! The HTTP client of one session, as rmcp's worker calls it.
//!
//! rmcp's worker knows sessions, versions and headers; what passes over the wire is read here ([`super::exchange`],
//! [`super::listen`]), so that limits, failures and replies that are not quite right are the same as on every transport.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use rmcp::{
    ErrorData,
    model::{
        ClientJsonRpcMessage, ClientNotification, ClientRequest, JsonRpcMessage, RequestId,
        ServerJsonRpcMessage,
    },
    transport::streamable_http_client::{
        SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    },
};
use sse_stream::Sse;
use tokio::task::spawn_blocking;
use tokio_util::task::TaskTracker;

use super::{
    connections::HttpClient,
    credentials::Credentials,
    exchange::{Outcome, Posting, Target},
    failure::{FailureKind, HttpFailure},
    link::{Link, Listening, Routed},
    listen::Pauses,
};
use crate::{
    credentials::IssuedCredentials,
    decode::{Incoming, LONG, decode, read},
    error::OpenError,
    redact::Redactor,
    transport_report::TransportReport,
};

pub(super) type Headers = HashMap<HeaderName, HeaderValue>;

/// What a session's requests are made with. Clones are the same client.
#[derive(Clone)]
pub(super) struct SessionClient {
    pub(super) http: HttpClient,
    pub(super) link: Arc<Link>,
    pub(super) report: Arc<TransportReport>,
    /// Tasks that outlive a request for a moment.
    pub(super) tasks: TaskTracker,
    /// Most bytes of a message, in both directions.
    pub(super) max_message_size: usize,
    pub(super) issued: Option<IssuedCredentials>,
    pub(super) credentials: Credentials,
    pub(super) redactor: Redactor,
    pub(super) last_error: LastError,
    pub(super) initialized: Arc<AtomicBool>,
    /// Where raw requests go: what rmcp's worker opened last.
    pub(super) opened: Opened,
    pub(super) pauses: Pauses,
}

/// The session that is open, and whether it is one of 2026-07-28 or later.
#[derive(Clone, Debug, Default)]
pub(super) struct Opened(Arc<Mutex<Option<OpenedSession>>>);

/// A session, and whether it is a modern one.
type OpenedSession = (Arc<Target>, bool);

/// The last thing that went wrong, until it is taken.
#[derive(Clone, Default)]
pub(super) struct LastError(Arc<Mutex<Option<OpenError>>>);

impl LastError {
    pub(super) fn take(&self) -> Option<OpenError> {
        self.0.lock().take()
    }
}

impl SessionClient {
    /// The session that is open.
    pub(super) fn current(&self) -> Option<Arc<Target>> {
        let opened = self.opened.0.lock();
        opened.as_ref().map(|(target, _)| Arc::clone(target))
    }

    pub(super) fn is_modern(&self) -> bool {
        let opened = self.opened.0.lock();
        opened.as_ref().is_some_and(|(_, is_modern)| *is_modern)
    }

    /// A failure as rmcp's worker sees it.
    fn fails(&self, failure: HttpFailure) -> StreamableHttpError<HttpFailure> {
        let failure = self.note(failure);
        if failure.is_forgotten() {
            return StreamableHttpError::SessionExpired;
        }
        StreamableHttpError::Client(failure)
    }

    /// A failure as others may see it, kept for the caller who asks why.
    pub(super) fn note(&self, failure: HttpFailure) -> HttpFailure {
        let failure = failure.redacted(&self.redactor);
        let challenge = failure.challenge();
        match (self.issued.as_ref(), failure.kind(), challenge) {
            (Some(issued), FailureKind::Status(401), challenge) => {
                issued.refuse_with(challenge.cloned());
            }
            (Some(issued), FailureKind::Status(403), Some(challenge))
                if challenge.is_insufficient_scope() && self.credentials.can_step_up() =>
            {
                issued.wants_scope(challenge.clone());
            }
            _ => {}
        }
        if !failure.is_forgotten() {
            *self.last_error.0.lock() = Some(failure.to_open_error());
        }
        failure
    }

    /// A session's requests go out with the credentials it was opened with. What belongs to requests that are under
    /// way (answers to the server, cancellations, streams taken up again, the session's end) goes with the newest:
    /// the old ones may have run out meanwhile.
    pub(super) fn with_newest(&self, mut headers: Headers) -> Headers {
        if let Some(newest) = self.credentials.newest() {
            let newest = newest.iter();
            headers.extend(newest.map(|(name, value)| (name.clone(), value.clone())));
        }
        headers
    }

    /// Handles a message: the reply to the request `own`, or one that the server sent by itself. A long message is read off the runtime's
    /// workers. `None` if it is no message.
    pub(super) async fn take(&self, bytes: Vec<u8>, own: Option<i64>) -> Option<Routed> {
        let (size, limit) = (bytes.len(), self.max_message_size);
        let incoming = if size <= LONG {
            read(&bytes, limit, |_| true)
        } else {
            let reading = spawn_blocking(move || read(&bytes, limit, |_| true));
            // An error means that the runtime is shutting down.
            reading.await.ok()?
        };
        let Incoming::Batch(batch) = incoming else {
            return self.route(size, incoming, own).await;
        };
        // With the id of the request, the reply counts before all that might stand for it.
        let (mut reply, mut outcome) = (None, None);
        for (size, incoming) in batch {
            let is_reply = matches!(&incoming, Incoming::Reply(reply) if Some(reply.id) == own);
            let routed = self.route(size, incoming, own).await;
            if is_reply {
                reply = reply.or(routed);
            } else if !matches!(outcome, Some(Routed::Reply(_))) {
                outcome = routed.or(outcome);
            }
        }
        let outcome = reply.or(outcome);
        if matches!(outcome, Some(Routed::Reply(_))) {
            self.link.passed().await;
        }
        outcome
    }

    async fn route(&self, size: usize, incoming: Incoming, own: Option<i64>) -> Option<Routed> {
        match incoming {
            Incoming::Reply(reply) => {
                let routed = self.link.route_reply(reply, own);
                if matches!(routed, Routed::Stray(..)) {
                    self.link.pace.count(size);
                }
                Some(routed)
            }
            Incoming::Other(decoded) => {
                self.link.pace.count(size);
                self.report.left_out(decoded.notes);
                Some(self.link.route(decoded.message?, size, own).await)
            }
            Incoming::Batch(_) => None,
        }
    }

    /// A reply in rmcp's types.
    async fn typed(&self, id: RequestId, outcome: Outcome) -> ServerJsonRpcMessage {
        let result = match outcome {
            Ok(result) => result,
            Err(error) => return JsonRpcMessage::error(error, Some(id)),
        };
        let (limit, number, size) = (self.max_message_size, id.clone(), result.get().len());
        let message = move || {
            let result = result.get();
            let line = format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{result}}}"#);
            decode(line.as_bytes(), limit)
        };
        let decoded = if size <= LONG {
            message()
        } else {
            spawn_blocking(message).await.unwrap_or_default()
        };
        self.report.left_out(decoded.notes);
        decoded.message.unwrap_or_else(|| {
            let error = ErrorData::internal_error("the reply could not be decoded", None);
            JsonRpcMessage::error(error, Some(id))
        })
    }

    /// Notes whether the session receives notifications.
    pub(super) fn set_listening(&self, listening: Listening) {
        self.link.listening.send_replace(listening);
        self.report.deaf(listening == Listening::Closed);
    }
}

/// The other methods, which carry limits on what is read, lead here by default. The limits are the client's own.
impl StreamableHttpClient for SessionClient {
    type Error = HttpFailure;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, StreamableHttpError<HttpFailure>> {
        let body = serde_json::to_vec(&message).map_err(|error| {
            let message = format!("the message cannot be written as JSON: {error}");
            self.fails(HttpFailure::new(FailureKind::TooLarge, message))
        })?;
        let ClientJsonRpcMessage::Request(request) = &message else {
            let target = Target::new(&uri, session_id.as_ref(), self.with_newest(headers.clone()));
            let posted = self.post_notice(&target, body).await;
            posted.map_err(|failure| self.fails(failure))?;
            if is_initialized(&message) {
                // The headers of the session's own: the newest are for what is under way.
                let target = Target::new(&uri, session_id.as_ref(), headers);
                *self.opened.0.lock() = Some((Arc::new(target), false));
            }
            return Ok(StreamableHttpPostResponse::Accepted);
        };
        let target = Target::new(&uri, session_id.as_ref(), headers);
        let RequestId::Number(id) = request.id else {
            let failure = HttpFailure::no_reply("the id of the request is no number");
            return Err(StreamableHttpError::Client(failure));
        };
        let mut expected = self.link.expect(id);
        let posting = Posting {
            id,
            method: request.request.method(),
            body,
            headers: HeaderMap::new(),
        };
        let posted = tokio::select! {
            biased;
            reply = expected.elsewhere() => Ok((reply, None)),
            posted = self.post_request(&target, posting) => posted,
            // rmcp's worker waits for the reply to `initialize` whether or not the opening has been given up.
            () = self.link.is_abandoned() => {
                // It is no trouble of the connection.
                let failure = HttpFailure::no_reply("the session was given up");
                return Err(StreamableHttpError::Client(failure));
            }
        };
        let (outcome, given) = posted.map_err(|failure| self.fails(failure))?;
        match &request.request {
            ClientRequest::InitializeRequest(_) => {
                if given.is_none() && outcome.is_ok() {
                    // rmcp opens a stream for the server's own messages only where there is a session.
                    self.set_listening(Listening::Closed);
                }
                // rmcp says hello again when the server has forgotten the session.
                if self.initialized.swap(true, Ordering::Relaxed) {
                    self.report.reinitialized();
                }
            }
            ClientRequest::DiscoverRequest(_) if outcome.is_ok() => {
                *self.opened.0.lock() = Some((Arc::new(target), true));
            }
            _ => {}
        }
        let message = self.typed(request.id.clone(), outcome).await;
        Ok(StreamableHttpPostResponse::Json(message, given))
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _: Option<String>,
        headers: Headers,
    ) -> Result<(), StreamableHttpError<HttpFailure>> {
        if self.credentials.keep_if_refused(&session_id, &headers) {
            return Ok(());
        }
        let headers = self.with_newest(headers);
        let deleted = self.delete(&uri, &session_id, &headers).await;
        deleted.map_err(|failure| StreamableHttpError::Client(failure.redacted(&self.redactor)))
    }

    /// Listens as long as the stream may carry messages, and then reports that there is none: rmcp takes no part.
    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        _: Option<String>,
        _: Option<String>,
        headers: Headers,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, StreamableHttpError<HttpFailure>> {
        if let Some(failure) = self.listen(&uri, session_id.as_ref(), &headers).await {
            let failure = match *self.link.listening.borrow() {
                Listening::Open => self.fails(failure),
                // A server that refuses the stream outright, by 401 for instance, may still take calls: its answer is no
                // verdict on credentials with which the session has just been opened.
                _ => StreamableHttpError::Client(failure.redacted(&self.redactor)),
            };
            tracing::debug!("the server's own stream has ended for good: {failure}");
        }
        self.set_listening(Listening::Closed);
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}

fn is_initialized(message: &ClientJsonRpcMessage) -> bool {
    matches!(
        message,
        JsonRpcMessage::Notification(notification)
            if matches!(notification.notification, ClientNotification::InitializedNotification(_))
    )
}
