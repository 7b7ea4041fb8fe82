//! Connector for servers over streamable HTTP.
//!
//! All sessions of a server share one client and its connections, which are kept alive: rmcp's own client opens a
//! TCP connection for every call. Headers belong to a session, so one connector stands for one identity.
//!
//! Headers whose values come from a [source](crate::source) are asked for at every opening. When the server answers
//! 401 to them, in an opening or in the middle of a call, they are stale: sessions opened with them take no more
//! calls, and the next opening asks for new ones, once for all who wait. A 403 is another matter: the server knows
//! who asks and says no, and a new token of the same identity would not change that.

mod client;
mod connections;
mod credentials;
mod exchange;
mod header_value;
mod link;
mod listen;
mod params;
mod quick_ack;
mod raw;
mod response;
mod sse;
mod stream;

use crate::failure::http as failure;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use client::{Headers, LastError, Opened, SessionClient};
pub use connections::HttpClient;
use credentials::{Credentials, Issue, redactor_of};
use failure::HttpFailure;
use http::{HeaderName, HeaderValue};
use link::{HttpTransport, Link, Listening};
use listen::Pauses;
use params::ParamHeaders;
use raw::RawPosts;
use rmcp::transport::{
    DynamicTransportError, StreamableHttpClientTransport,
    streamable_http_client::{StreamableHttpClient, StreamableHttpClientTransportConfig},
};
use tokio::time::timeout;

use super::{BoxFuture, Connected, Connector, Handshake, negotiate::Pipelining};
use crate::{
    error::{OpenError, OpenErrorKind, Phase},
    exchange::Way,
    lifecycle::Era,
    source::{Asked, ValueSource},
    transport_report::TransportReport,
};

/// Dials a server, under one identity.
#[derive(Clone)]
pub struct Http {
    url: Arc<str>,
    headers: Headers,
    credentials: Credentials,
    client: HttpClient,
    max_in_flight: usize,
    max_message_size: usize,
    reopen: bool,
    params: ParamHeaders,
    stream_is_slow: Arc<AtomicBool>,
}

impl Http {
    /// Dials `url`, which must be `http://`, or `https://` with the feature `tls`.
    ///
    /// # Errors
    /// A URL that cannot be dialled.
    pub fn new(url: impl AsRef<str>) -> Result<Self, OpenError> {
        let url = url.as_ref();
        let parsed = reqwest::Url::parse(url)
            .map_err(|error| config(format!("`{}` is no URL: {error}", without_secrets(url))))?;
        match parsed.scheme() {
            "http" => {}
            "https" if cfg!(feature = "tls") => {}
            "https" => return Err(config("https needs the feature `tls` of mcp-pool-core")),
            other => {
                return Err(config(format!(
                    "a URL starts with http:// or https://, not {other}://"
                )));
            }
        }
        Ok(Self {
            url: parsed.as_str().into(),
            headers: Headers::new(),
            credentials: Credentials::default(),
            client: HttpClient::new()?,
            max_in_flight: 16,
            max_message_size: super::lines::DEFAULT_MAX_MESSAGE_SIZE,
            reopen: true,
            params: ParamHeaders::default(),
            stream_is_slow: Arc::default(),
        })
    }

    /// Sends a header with every request, in place of another of this name. Its value is treated as a secret. Headers that
    /// the protocol sets itself (`Accept`, `Content-Type`, `Mcp-Session-Id`, `Last-Event-ID`) stay as they are.
    ///
    /// # Errors
    /// What HTTP does not allow in a name or a value.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, OpenError> {
        let parsed = header_name(name)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| {
            config(format!(
                "the value of header `{name}` holds characters that HTTP does not allow"
            ))
        })?;
        value.set_sensitive(true);
        self.credentials = self.credentials.without(&parsed);
        self.headers.insert(parsed, value);
        Ok(self)
    }

    /// Sends a header whose value is requested when a session is opened, and again after a 401. It
    /// takes the place of another of this name.
    ///
    /// # Errors
    /// What HTTP does not allow in a name.
    pub fn header_from(
        mut self,
        name: &str,
        source: Arc<dyn ValueSource>,
    ) -> Result<Self, OpenError> {
        let name = header_name(name)?;
        self.credentials = self.credentials.with(name, source);
        Ok(self)
    }

    /// Shares the connections of another connector to the same server.
    #[must_use]
    pub fn client(mut self, client: HttpClient) -> Self {
        self.client = client;
        self
    }

    /// The connections of this connector, for others to the same server.
    #[must_use]
    pub fn shared_client(&self) -> HttpClient {
        self.client.clone()
    }

    /// Calls at once on one session (default 16). A few more are let through, and what goes beyond these waits.
    #[must_use]
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        self.max_in_flight = calls;
        self
    }

    /// Limits one message, in either direction, to this many bytes (default 16 MiB); bodies are counted decompressed.
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Whether a session that the server has dropped is reinitialized silently (default: yes). Where the
    /// server keeps state for its clients, a new session is not the old one: then the session ends instead.
    #[must_use]
    pub fn reopen_forgotten(mut self, reopen: bool) -> Self {
        self.reopen = reopen;
        self
    }

    /// Opens a session with the values of the sources. If the server refuses them, they are requested once more.
    async fn open(&self, handshake: &Handshake) -> Result<Connected, OpenError> {
        if self.credentials.are_none() {
            return self.connect_with(handshake, None).await;
        }
        let (issue, why) = self.credentials.ask().await?;
        let refused = match self.connect_with(handshake, Some(&issue)).await {
            Ok(connected) if !issue.issued.is_refused() => return Ok(connected),
            // Meanwhile, on another session; this server does not look at credentials while it shakes hands.
            Ok(_) => HttpFailure::of_status(401, "").to_open_error(),
            Err(error) => match error.kind() {
                OpenErrorKind::Unauthorized if why != Asked::Refused => error,
                // The server wants more scope, and there is a source that can give it.
                OpenErrorKind::Forbidden if issue.issued.is_refused() => error,
                _ => return Err(error),
            },
        };
        if refused.kind() == OpenErrorKind::Unauthorized {
            issue.issued.refuse_with(refused.auth_challenge().cloned());
        }
        let (fresh, _) = self.credentials.ask().await?;
        if !fresh.differs_from(&issue) {
            let names: Vec<_> = self.credentials.names().map(HeaderName::as_str).collect();
            let message = format!(
                "{refused}; requested again, the source of `{}` gave the same value",
                names.join("`, `")
            );
            let error = OpenError::new(refused.kind(), Phase::Open, message);
            return Err(error.with_challenge(refused.auth_challenge().cloned()));
        }
        tracing::debug!("the server refused the credentials, retrying with new ones");
        self.connect_with(handshake, Some(&fresh)).await
    }

    async fn connect_with(
        &self,
        handshake: &Handshake,
        issue: Option<&Issue>,
    ) -> Result<Connected, OpenError> {
        // Requests that stay open, to probe and to listen, are never queued behind calls.
        const BESIDE_CALLS: usize = 64;
        let concurrency = self.max_in_flight.saturating_add(BESIDE_CALLS);
        let mut headers = self.headers.clone();
        if let Some(issue) = issue {
            headers.extend(issue.headers().clone());
        }
        let secrets = redactor_of(&headers);
        let mut config = StreamableHttpClientTransportConfig::with_uri(Arc::clone(&self.url))
            .max_concurrent_requests(concurrency)
            .custom_headers(headers)
            .reinit_on_expired_session(self.reopen);
        config.channel_buffer_capacity = config.channel_buffer_capacity.max(concurrency);

        let report = Arc::new(TransportReport::default());
        let issued = issue.map(|issue| issue.issued.clone());
        let (link, inbox) = Link::new(report.exchange());
        let client = SessionClient {
            http: self.client.clone(),
            link: Arc::clone(&link),
            report: Arc::clone(&report),
            tasks: handshake.tasks().clone(),
            max_message_size: self.max_message_size,
            issued: issued.clone(),
            credentials: self.credentials.clone(),
            redactor: handshake.redactor().and(&secrets),
            last_error: LastError::default(),
            initialized: Arc::default(),
            opened: Opened::default(),
            pauses: Pauses::default(),
        };
        let last_error = client.last_error.clone();
        let transport = StreamableHttpClientTransport::with_client(client.clone(), config);
        let raw = Arc::new(RawPosts::new(
            client.clone(),
            self.reopen,
            self.params.clone(),
        ));
        let posts = Arc::downgrade(&raw);
        report.exchange().connect(Way::Posts(posts));
        let transport = HttpTransport::new(transport, inbox, Arc::clone(&raw), Arc::clone(&report));
        let connecting = handshake.perform_over(transport, report, Pipelining::Impossible);
        let connected = match connecting.await {
            Ok(connected) => connected.with_credentials(issued),
            Err(error) => {
                // What went wrong on the wire says more than that the handshake did not come about.
                let error = match last_error.take() {
                    Some(last_error)
                        if matches!(
                            error.kind(),
                            OpenErrorKind::Handshake | OpenErrorKind::Unreachable
                        ) =>
                    {
                        last_error
                    }
                    _ => error,
                };
                return Err(error.redacted(&secrets));
            }
        };
        if connected.era == Era::Legacy {
            self.wait_for_stream(&link).await;
        }
        self.end_what_has_ended(client, &connected);
        if connected.era == Era::Modern && self.params.may_be_needed() {
            self.params.learn(connected.peer()).await;
        }
        raw.opened(connected.peer().clone());
        Ok(connected)
    }

    /// Opens the stream for server messages before the first call, whose handler may receive some. A
    /// server that says nothing on it until it has something to say is waited for once.
    async fn wait_for_stream(&self, link: &Link) {
        const WITHIN: Duration = Duration::from_millis(500);
        if self.stream_is_slow.load(Ordering::Relaxed) {
            return;
        }
        let mut listening = link.listening.subscribe();
        let answered = listening.wait_for(|listening| *listening != Listening::Pending);
        if timeout(WITHIN, answered).await.is_err() {
            self.stream_is_slow.store(true, Ordering::Relaxed);
        }
    }

    /// Notifies the server of sessions that ended while it refused all requests.
    fn end_what_has_ended(&self, client: SessionClient, connected: &Connected) {
        let ended = self.credentials.take_ended();
        if ended.is_empty() {
            return;
        }
        let url = Arc::clone(&self.url);
        connected.spawn_task(|_| async move {
            for (session, headers) in ended {
                let url = Arc::clone(&url);
                // Without this the server drops them later by itself.
                let _ = client.delete_session(url, session, None, headers).await;
            }
        });
    }
}

impl Connector for Http {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(self.open(handshake))
    }

    fn credentials_changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.credentials.changed())
    }
}

/// Headers may hold secrets, and so may a URL beyond its path.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("url", &without_secrets(&self.url))
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("headers_from", &self.credentials)
            .finish_non_exhaustive()
    }
}

fn header_name(name: &str) -> Result<HeaderName, OpenError> {
    HeaderName::try_from(name).map_err(|_| config(format!("`{name}` is no name of a header")))
}

fn config(message: impl Into<String>) -> OpenError {
    OpenError::new(OpenErrorKind::Config, Phase::Open, message)
}

/// A URL without user, password, query and fragment.
fn without_secrets(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = &url[..end];
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}{}", &url[..scheme + 3], &url[at + 1..])
        }
        _ => url.to_owned(),
    }
}

/// What the wire had to say of a handshake that failed.
pub(super) fn describe(error: DynamicTransportError) -> OpenError {
    match error.error.downcast_ref::<HttpFailure>() {
        Some(failure) => failure.to_open_error(),
        None => {
            let message = format!("the connection broke during the handshake: {}", error.error);
            OpenError::new(OpenErrorKind::Handshake, Phase::Handshake, message)
                .with_source(error.error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        assert_eq!(
            without_secrets("https://user:pw@host/mcp?token=1#x"),
            "https://host/mcp"
        );
        assert_eq!(without_secrets("http://host:1/mcp"), "http://host:1/mcp");
    }

    #[test]
    fn bad_urls_and_headers_are_refused_with_a_reason() {
        for (url, reason) in [
            ("", "is no URL"),
            ("ftp://host", "not ftp://"),
            ("mcp", "is no URL"),
        ] {
            let error = Http::new(url).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
        let error = Http::new("http://host")
            .unwrap()
            .header("a b", "x")
            .unwrap_err();
        assert!(error.to_string().contains("`a b`"), "{error}");
        let error = Http::new("http://host")
            .unwrap()
            .header("token", "sec\nret")
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("sec"), "{error:?}");
    }
}
