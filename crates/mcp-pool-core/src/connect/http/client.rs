//! The HTTP client of a server's sessions.

use std::{
    collections::HashMap,
    error::Error as StdError,
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest},
    transport::streamable_http_client::{
        SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    },
};
use tokio::time::Instant;

use super::{
    credentials::Credentials,
    stall::{Route, StallWatch},
};
use crate::{
    challenge::AuthChallenge,
    credentials::Worn,
    error::{OpenError, OpenErrorKind, Phase},
    session::Findings,
};

type HttpError = StreamableHttpError<reqwest::Error>;
pub(super) type Headers = HashMap<HeaderName, HeaderValue>;

/// The connections to one server. Clones share them.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    kept: reqwest::Client,
    fresh: reqwest::Client,
    watch: Mutex<StallWatch>,
}

impl HttpClient {
    pub(super) fn new() -> Result<Self, OpenError> {
        let build = |builder: reqwest::ClientBuilder| {
            builder
                .tcp_nodelay(true)
                .redirect(within_origin())
                .build()
                .map_err(|error| {
                    OpenError::new(
                        OpenErrorKind::Config,
                        Phase::Open,
                        "no HTTP client could be made",
                    )
                    .with_source(error)
                })
        };
        Ok(Self(Arc::new(Inner {
            kept: build(reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(90)))?,
            fresh: build(reqwest::Client::builder().pool_max_idle_per_host(0))?,
            watch: Mutex::new(StallWatch::new()),
        })))
    }

    fn choose(&self) -> (Route, &reqwest::Client) {
        let route = self.0.watch.lock().route();
        (
            route,
            if route == Route::Kept {
                &self.0.kept
            } else {
                &self.0.fresh
            },
        )
    }

    fn answered(&self, route: Route, began: Instant) {
        let mut watch = self.0.watch.lock();
        let before = watch.is_stalled();
        watch.answered(route, began.elapsed());
        if watch.is_stalled() && !before {
            tracing::info!(
                "the server stalls on kept connections (no TCP_NODELAY on its side): each call gets a fresh one"
            );
        }
    }
}

/// Follows `/mcp` to `/mcp/`, as many servers want it, but carries no header, and no secret in it, to another host.
fn within_origin() -> reqwest::redirect::Policy {
    const MOST: usize = 10;
    reqwest::redirect::Policy::custom(|attempt| {
        let from = attempt.previous().first().map(reqwest::Url::origin);
        if attempt.previous().len() > MOST {
            attempt.error("too many redirects")
        } else if from == Some(attempt.url().origin()) {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("watch", &self.0.watch.lock())
            .finish_non_exhaustive()
    }
}

/// The client of one session: remembers what went wrong, that the server had forgotten the session, and that it wants
/// other credentials.
#[derive(Clone)]
pub(super) struct Recording {
    client: HttpClient,
    worn: Option<Worn>,
    credentials: Credentials,
    findings: Arc<Findings>,
    trouble: Trouble,
    initialized: Arc<AtomicBool>,
}

/// The last thing that went wrong, until it is taken.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<OpenError>>>);

impl Trouble {
    pub(super) fn take(&self) -> Option<OpenError> {
        self.0.lock().take()
    }
}

impl Recording {
    pub(super) fn new(client: HttpClient, findings: Arc<Findings>) -> Self {
        Self {
            client,
            worn: None,
            credentials: Credentials::default(),
            findings,
            trouble: Trouble::default(),
            initialized: Arc::default(),
        }
    }

    /// The credentials of the session, and where newer ones are found.
    pub(super) fn wearing(mut self, worn: Option<Worn>, credentials: Credentials) -> Self {
        self.worn = worn;
        self.credentials = credentials;
        self
    }

    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    fn note(&self, error: &HttpError) {
        if let Some((kind, message)) = classify(error) {
            let challenge = challenge_in(error);
            match (self.worn.as_ref(), &challenge) {
                (Some(worn), challenge) if kind == OpenErrorKind::Unauthorized => {
                    worn.refuse_with(challenge.clone());
                }
                (Some(worn), Some(challenge))
                    if challenge.is_insufficient_scope() && self.credentials.can_step_up() =>
                {
                    worn.wants_scope(challenge.clone());
                }
                _ => {}
            }
            let trouble = OpenError::new(kind, Phase::Open, message).with_challenge(challenge);
            *self.trouble.0.lock() = Some(trouble);
        }
    }

    /// A session's requests go out with the credentials it was opened with. What belongs to requests that are under
    /// way (answers to the server, cancellations, streams taken up again, the session's end) goes with the newest:
    /// the old ones may have run out meanwhile.
    fn with_newest(&self, mut headers: Headers) -> Headers {
        if let Some(newest) = self.credentials.newest() {
            let newest = newest.iter();
            headers.extend(newest.map(|(name, value)| (name.clone(), value.clone())));
        }
        headers
    }
}

impl StreamableHttpClient for Recording {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let limit = crate::connect::lines::DEFAULT_MAX_MESSAGE_SIZE;
        self.post_message_with_max_sse_event_size(
            uri,
            message,
            session_id,
            auth_header,
            headers,
            limit,
        )
        .await
    }

    async fn post_message_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        headers: Headers,
        max_sse_event_size: usize,
    ) -> Result<StreamableHttpPostResponse, HttpError> {
        let is_request = matches!(message, ClientJsonRpcMessage::Request(_));
        let is_initialize = matches!(&message, ClientJsonRpcMessage::Request(request)
            if matches!(request.request, ClientRequest::InitializeRequest(_)));
        let headers = if is_request {
            headers
        } else {
            self.with_newest(headers)
        };
        let began = Instant::now();
        let (route, client) = self.client.choose();
        let response = client
            .post_message_with_max_sse_event_size(
                uri,
                message,
                session_id,
                auth_header,
                headers,
                max_sse_event_size,
            )
            .await
            .map_err(without_url)
            .inspect_err(|error| self.note(error))?;
        // rmcp says hello again when the server has forgotten the session.
        if is_initialize && self.initialized.swap(true, Ordering::Relaxed) {
            self.findings.reinitialized();
        }
        Ok(match response {
            StreamableHttpPostResponse::Sse(events, session_id) if is_request => {
                // The head of the answer is never held back; what counts is when the first event is there.
                let client = self.client.clone();
                let mut pending = Some(began);
                let events = events.inspect(move |event| {
                    let full = event.as_ref().is_ok_and(|event| {
                        event.data.as_ref().is_some_and(|data| !data.is_empty())
                    });
                    if full && let Some(began) = pending.take() {
                        client.answered(route, began);
                    }
                });
                StreamableHttpPostResponse::Sse(events.boxed(), session_id)
            }
            StreamableHttpPostResponse::Json(..) if is_request => {
                self.client.answered(route, began);
                response
            }
            other => other,
        })
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        headers: Headers,
    ) -> Result<(), HttpError> {
        if self.credentials.keep_if_refused(&session_id, &headers) {
            return Ok(());
        }
        let headers = self.with_newest(headers);
        self.client
            .0
            .kept
            .delete_session(uri, session_id, auth_header, headers)
            .await
            .map_err(without_url)
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        headers: Headers,
    ) -> Result<BoxStream<'static, Result<sse_stream::Sse, SseError>>, HttpError> {
        let headers = self.with_newest(headers);
        self.client
            .0
            .kept
            .get_stream(uri, session_id, last_event_id, auth_header, headers)
            .await
            .map_err(without_url)
    }

    async fn get_stream_with_max_sse_event_size(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        headers: Headers,
        max_sse_event_size: usize,
    ) -> Result<BoxStream<'static, Result<sse_stream::Sse, SseError>>, HttpError> {
        let headers = self.with_newest(headers);
        let client = &self.client.0.kept;
        client
            .get_stream_with_max_sse_event_size(
                uri,
                session_id,
                last_event_id,
                auth_header,
                headers,
                max_sse_event_size,
            )
            .await
            .map_err(without_url)
    }
}

/// rmcp logs errors with the URL that reqwest puts into them, and people put keys into URLs.
fn without_url(error: HttpError) -> HttpError {
    match error {
        StreamableHttpError::Client(error) => StreamableHttpError::Client(error.without_url()),
        error => error,
    }
}

/// What the server said about the authorization that it wants.
pub(super) fn challenge_in(error: &HttpError) -> Option<AuthChallenge> {
    AuthChallenge::parse(match error {
        StreamableHttpError::AuthRequired(error) => &error.www_authenticate_header,
        StreamableHttpError::InsufficientScope(error) => &error.www_authenticate_header,
        _ => return None,
    })
}

/// The trouble a request was in, and what to say about it. `None` where it is none of HTTP's.
pub(super) fn classify(error: &HttpError) -> Option<(OpenErrorKind, String)> {
    Some(match error {
        StreamableHttpError::AuthRequired(_) => of_status(401),
        StreamableHttpError::InsufficientScope(_) => of_status(403),
        StreamableHttpError::HttpStatus(error) => of_status(error.status),
        StreamableHttpError::UnexpectedServerResponse(text) => of_status(status_in(text)?),
        StreamableHttpError::UnexpectedContentType(found) => {
            let found = found.as_deref().unwrap_or("none");
            let message =
                format!("the server does not speak MCP at this URL (content type: {found})");
            (OpenErrorKind::Handshake, message)
        }
        StreamableHttpError::Client(error) => {
            if let Some(status) = error.status() {
                return Some(of_status(status.as_u16()));
            }
            let cause = innermost(error);
            if is_tls(error) {
                (
                    OpenErrorKind::Tls,
                    format!("no secure connection to the server: {cause}"),
                )
            } else {
                (
                    OpenErrorKind::Unreachable,
                    format!("the server could not be reached: {cause}"),
                )
            }
        }
        _ => return None,
    })
}

pub(super) fn of_status(status: u16) -> (OpenErrorKind, String) {
    match status {
        401 => (
            OpenErrorKind::Unauthorized,
            "the server wants other credentials (HTTP 401)".into(),
        ),
        403 => (
            OpenErrorKind::Forbidden,
            "the server refuses these credentials (HTTP 403)".into(),
        ),
        404 => (
            OpenErrorKind::Http(404),
            "there is nothing at this URL (HTTP 404); check its path".into(),
        ),
        status => (
            OpenErrorKind::Http(status),
            format!("the server answered with HTTP {status}"),
        ),
    }
}

/// rmcp puts the status of an answer it cannot use into text: `HTTP 418 I'm a teapot: ...`.
fn status_in(text: &str) -> Option<u16> {
    text.strip_prefix("HTTP ")?.get(..3)?.parse().ok()
}

/// reqwest repeats the URL on every level; the innermost error is the one that says why.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// rustls reports through io errors of this kind, in whichever layer they are wrapped.
fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn StdError> = Some(error);
    while let Some(current) = cause {
        let io = current.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        // The source of an io error is the source of what it wraps, and passes that over.
        let wrapped = io.and_then(io::Error::get_ref).map(|inner| inner as _);
        cause = wrapped.or_else(|| current.source());
    }
    false
}
