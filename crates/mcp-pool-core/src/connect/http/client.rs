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
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, ServerJsonRpcMessage},
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
    failure::{FailureKind, HttpFailure},
    link::{Link, Listening},
    listen::Pauses,
};
use crate::{
    connect::{decode::decode, lines::LONG},
    credentials::Worn,
    error::OpenError,
    findings::Findings,
    redact::Redactor,
};

pub(super) type Headers = HashMap<HeaderName, HeaderValue>;

/// What a session's requests are made with. Clones are the same client.
#[derive(Clone)]
pub(super) struct SessionClient {
    pub(super) http: HttpClient,
    pub(super) link: Arc<Link>,
    pub(super) findings: Arc<Findings>,
    /// Tasks that outlive a request for a moment.
    pub(super) tasks: TaskTracker,
    /// Most bytes of a message, in both directions.
    pub(super) max_message_size: usize,
    pub(super) worn: Option<Worn>,
    pub(super) credentials: Credentials,
    pub(super) redactor: Redactor,
    pub(super) trouble: Trouble,
    pub(super) initialized: Arc<AtomicBool>,
    pub(super) pauses: Pauses,
}

/// The last thing that went wrong, until it is taken.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<OpenError>>>);

impl Trouble {
    pub(super) fn take(&self) -> Option<OpenError> {
        self.0.lock().take()
    }
}

impl SessionClient {
    /// A failure as everybody else may see it, noted for whoever asks why.
    fn fails(&self, failure: HttpFailure) -> StreamableHttpError<HttpFailure> {
        let failure = failure.redacted(&self.redactor);
        let challenge = failure.challenge();
        match (self.worn.as_ref(), failure.kind(), challenge) {
            (Some(worn), FailureKind::Status(401), challenge) => {
                worn.refuse_with(challenge.cloned());
            }
            (Some(worn), FailureKind::Status(403), Some(challenge))
                if challenge.is_insufficient_scope() && self.credentials.can_step_up() =>
            {
                worn.wants_scope(challenge.clone());
            }
            _ => {}
        }
        if failure.is_forgotten() {
            return StreamableHttpError::SessionExpired;
        }
        *self.trouble.0.lock() = Some(failure.to_open_error());
        StreamableHttpError::Client(failure)
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

    /// Decodes a message, a long one off the runtime's workers.
    pub(super) async fn decode(&self, bytes: &[u8]) -> Option<ServerJsonRpcMessage> {
        let limit = self.max_message_size;
        let decoded = if bytes.len() <= LONG {
            decode(bytes, limit)
        } else {
            let bytes = bytes.to_vec();
            // An error means that the runtime is shutting down.
            spawn_blocking(move || decode(&bytes, limit)).await.ok()?
        };
        self.findings.left_out(decoded.notes);
        decoded.message
    }

    /// Notes whether the session can hear what the server says unasked.
    pub(super) fn hears(&self, listening: Listening) {
        self.link.listening.send_replace(listening);
        self.findings.deaf(listening == Listening::Closed);
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
        let request = match &message {
            ClientJsonRpcMessage::Request(request) => Some(&request.request),
            _ => None,
        };
        let is_initialize = matches!(request, Some(ClientRequest::InitializeRequest(_)));
        let headers = match request {
            Some(_) => headers,
            None => self.with_newest(headers),
        };
        let posted = self.post(&uri, &message, session_id.as_ref(), &headers);
        let posted = match request {
            // rmcp's worker waits for the reply to `initialize` whether or not the opening has been given up.
            Some(_) => tokio::select! {
                biased;
                posted = posted => posted,
                () = self.link.is_abandoned() => Err(HttpFailure::no_reply("the session was given up")),
            },
            None => posted.await,
        };
        let response = posted.map_err(|failure| self.fails(failure))?;
        if is_initialize {
            if let StreamableHttpPostResponse::Json(_, None) = response {
                // rmcp opens a stream for the server's own messages only where there is a session.
                self.hears(Listening::Closed);
            }
            // rmcp says hello again when the server has forgotten the session.
            if self.initialized.swap(true, Ordering::Relaxed) {
                self.findings.reinitialized();
            }
        }
        Ok(response)
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

    /// Listens for as long as there is something to hear, and then says that there is nothing: rmcp takes no part.
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
        self.hears(Listening::Closed);
        Err(StreamableHttpError::ServerDoesNotSupportSse)
    }
}
