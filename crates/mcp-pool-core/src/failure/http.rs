//! Why an HTTP request of a session failed, in plain words.
//!
//! rmcp's errors name Rust types and drop what the server said. A failure here keeps the status, the server's words on one
//! line, and the challenge of a 401 or 403.

use std::{error::Error as StdError, fmt, io, time::Duration};

use hyper_util::client::legacy;
use rmcp::transport::{DynamicTransportError, streamable_http_client::StreamableHttpError};

use crate::{
    challenge::AuthChallenge,
    error::{OpenError, OpenErrorKind, Phase},
    failure::CallFailure,
    redact::Redactor,
};

/// A request that failed on the wire; `None` if the wire is not HTTP's.
pub(crate) fn failure_in(error: &DynamicTransportError) -> Option<&HttpFailure> {
    error.error.downcast_ref()
}

/// A request that was not answered as it should be.
#[derive(Clone)]
pub(crate) struct HttpFailure {
    kind: FailureKind,
    message: String,
    challenge: Option<Box<AuthChallenge>>,
    retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection could be made: nothing was sent.
    Unreachable,
    /// No secure connection could be made: nothing was sent.
    Tls,
    /// The server refused the request with this status.
    Status(u16),
    /// The server does not know the session, so it did not look at the request.
    SessionForgotten,
    /// The request is larger than `max_message_size`: it was not sent.
    TooLarge,
    /// What was answered is not MCP.
    NotMcp,
    /// The request was sent, and its reply did not come.
    NoReply,
}

impl HttpFailure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            challenge: None,
            retry_after: None,
        }
    }

    /// A status that is no reply, with what the server said about it on one line.
    pub(crate) fn of_status(status: u16, words: &str) -> Self {
        let meaning = match status {
            401 => "the server wants other credentials",
            403 => "the server refuses these credentials",
            404 => "there is nothing at this URL; check its path",
            _ => "",
        };
        let said = match words {
            "" => format!("HTTP {status}"),
            words => format!("HTTP {status}: {words}"),
        };
        let message = match (meaning, words) {
            ("", "") => format!("the server answered with {said}"),
            ("", _) => said,
            (meaning, _) => format!("{meaning} ({said})"),
        };
        Self::new(FailureKind::Status(status), message)
    }

    pub(crate) fn forgotten() -> Self {
        let message = "the server does not know the session any more";
        Self::new(FailureKind::SessionForgotten, message)
    }

    pub(crate) fn no_reply(message: impl Into<String>) -> Self {
        Self::new(FailureKind::NoReply, message)
    }

    /// Before any reply: the connection was not made, or it broke.
    pub(crate) fn of_request(error: &reqwest::Error) -> Self {
        let cause = innermost(error);
        if error.is_connect() && is_tls(error) {
            let message = format!("no secure connection to the server: {cause}");
            return Self::new(FailureKind::Tls, message);
        }
        if error.is_redirect() {
            return Self::new(FailureKind::NotMcp, cause);
        }
        Self::before_a_reply(error.is_connect(), &cause)
    }

    /// The same, of a request without TLS.
    pub(crate) fn of_plain_request(error: &legacy::Error) -> Self {
        Self::before_a_reply(error.is_connect(), &innermost(error))
    }

    fn before_a_reply(is_connect: bool, cause: &str) -> Self {
        if is_connect {
            let message = format!("the server could not be reached: {cause}");
            return Self::new(FailureKind::Unreachable, message);
        }
        Self::no_reply(format!("the connection broke before a reply came: {cause}"))
    }

    pub(crate) fn with_challenge(mut self, challenge: Option<AuthChallenge>) -> Self {
        self.challenge = challenge.map(Box::new);
        self
    }

    pub(crate) fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    pub(crate) fn redacted(self, redactor: &Redactor) -> Self {
        Self {
            message: redactor.sanitize(&self.message),
            challenge: self
                .challenge
                .map(|challenge| Box::new(challenge.redacted(redactor))),
            ..self
        }
    }

    /// What rmcp's transport says instead of what its client said.
    pub(crate) fn of_transport(error: StreamableHttpError<Self>) -> Self {
        match error {
            StreamableHttpError::Client(failure) => failure,
            StreamableHttpError::SessionExpired => Self::forgotten(),
            StreamableHttpError::ReinitializationFailed(error) => Self::new(
                FailureKind::SessionForgotten,
                format!(
                    "the server forgot the session and refused another: {} ({})",
                    error.message, error.code.0
                ),
            ),
            StreamableHttpError::SessionRecoveryTimeout => Self::no_reply(
                "the server forgot the session before it answered, and gave no other in time",
            ),
            StreamableHttpError::TransportChannelClosed => Self::no_reply("the session has ended"),
            StreamableHttpError::ControlRequestTimeout => {
                Self::no_reply("the server did not take the message in time")
            }
            other => Self::no_reply(other.to_string()),
        }
    }

    pub(crate) fn kind(&self) -> FailureKind {
        self.kind
    }

    pub(crate) fn challenge(&self) -> Option<&AuthChallenge> {
        self.challenge.as_deref()
    }

    /// When the server wants to be asked again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn is_forgotten(&self) -> bool {
        self.kind == FailureKind::SessionForgotten
    }

    /// What it says about the call.
    pub(crate) fn call_failure(&self) -> CallFailure {
        match self.kind {
            FailureKind::Unreachable | FailureKind::Tls | FailureKind::SessionForgotten => {
                CallFailure::NotSent
            }
            FailureKind::TooLarge => CallFailure::Rejected(OpenErrorKind::Config),
            FailureKind::Status(401) => CallFailure::Rejected(OpenErrorKind::Unauthorized),
            FailureKind::Status(403) => CallFailure::Rejected(OpenErrorKind::Forbidden),
            FailureKind::Status(status @ 300..=499) => {
                CallFailure::Rejected(OpenErrorKind::Http(status))
            }
            FailureKind::Status(_) | FailureKind::NotMcp | FailureKind::NoReply => {
                CallFailure::Lost
            }
        }
    }

    /// What it says about an opening.
    pub(crate) fn open_kind(&self) -> OpenErrorKind {
        match self.kind {
            FailureKind::Unreachable | FailureKind::NoReply => OpenErrorKind::Unreachable,
            FailureKind::Tls => OpenErrorKind::Tls,
            FailureKind::Status(401) => OpenErrorKind::Unauthorized,
            FailureKind::Status(403) => OpenErrorKind::Forbidden,
            FailureKind::Status(status) => OpenErrorKind::Http(status),
            FailureKind::TooLarge => OpenErrorKind::Config,
            FailureKind::SessionForgotten | FailureKind::NotMcp => OpenErrorKind::Handshake,
        }
    }

    pub(crate) fn to_open_error(&self) -> OpenError {
        OpenError::new(self.open_kind(), Phase::Open, self.message.as_str())
            .with_challenge(self.challenge().cloned())
    }
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// rmcp logs errors in this form.
impl fmt::Debug for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for HttpFailure {}

/// reqwest repeats the URL on every level, and people put keys into URLs. The innermost error says why.
pub(crate) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "it could not be sent".to_owned(),
        None => cause.to_string(),
    }
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
