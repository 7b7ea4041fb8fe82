//! Classification of failed calls: what they say about their session.

#[cfg(feature = "http")]
pub(crate) mod http;

use std::time::Duration;

use rmcp::{service::ServiceError, transport::DynamicTransportError};

use crate::{challenge::AuthChallenge, error::OpenErrorKind};

/// What is known of a call that ended in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallFailure {
    /// The server answered, with an error of its own.
    Answered,
    /// The request did not leave: it had no effect.
    NotSent,
    /// The server turned the request away before any tool saw it, with this HTTP trouble.
    Rejected(OpenErrorKind),
    /// The server turned the request away because its credentials are stale (401), and there is a source to ask for
    /// others: another session may well serve it. It had no effect.
    StaleCredentials,
    /// The request left, or may have, and no answer came: it may have had its effect.
    Lost,
}

impl CallFailure {
    /// Reads an error of rmcp. Whether credentials were stale or wrong is known to the session alone: see
    /// [`CallGuard::failed`](crate::CallGuard::failed).
    #[must_use]
    pub fn of(error: &ServiceError) -> Self {
        match error {
            ServiceError::McpError(_)
            | ServiceError::UnexpectedResponse
            | ServiceError::InputRequiredRoundsExceeded { .. } => Self::Answered,
            #[cfg(feature = "http")]
            ServiceError::TransportSend(error) => match http::failure_in(error) {
                Some(failure) => failure.call_failure(),
                None => Self::of_write(error),
            },
            #[cfg(not(feature = "http"))]
            ServiceError::TransportSend(error) => Self::of_write(error),
            _ => Self::Lost,
        }
    }

    /// What went wrong in plain words. What rmcp displays of a failure on the wire names Rust types.
    #[must_use]
    pub fn reason(error: &ServiceError) -> String {
        match error {
            ServiceError::TransportSend(error) => error.error.to_string(),
            error => error.to_string(),
        }
    }

    /// When the server wants to be asked again, if it said so (`Retry-After`).
    #[must_use]
    pub fn retry_after(error: &ServiceError) -> Option<Duration> {
        match error {
            #[cfg(feature = "http")]
            ServiceError::TransportSend(error) => http::failure_in(error)?.retry_after(),
            _ => None,
        }
    }

    /// A line that could not be written into a pipe whole is none to its reader. What other transports mean by a failed
    /// send is theirs to know.
    pub(crate) fn of_write(error: &DynamicTransportError) -> Self {
        if error.error.is::<std::io::Error>() {
            Self::NotSent
        } else {
            Self::Lost
        }
    }
}

impl AuthChallenge {
    /// The challenge that came with a request that failed, if one did.
    #[must_use]
    pub fn of(error: &ServiceError) -> Option<Self> {
        match error {
            #[cfg(feature = "http")]
            ServiceError::TransportSend(error) => http::failure_in(error)?.challenge().cloned(),
            _ => None,
        }
    }
}

/// Whether the session is dead, though its attendant may not have noticed yet: a write into its pipe failed, or rmcp's
/// loop has ended.
pub(crate) fn is_death(error: &ServiceError) -> bool {
    match error {
        ServiceError::TransportClosed => true,
        ServiceError::TransportSend(error) => error.error.is::<std::io::Error>(),
        _ => false,
    }
}

/// Whether the session can serve no more calls, though its transport lives.
pub(crate) fn ends_session(error: &ServiceError) -> bool {
    match error {
        #[cfg(feature = "http")]
        ServiceError::TransportSend(error) => {
            http::failure_in(error).is_some_and(|failure| failure.is_forgotten())
        }
        _ => false,
    }
}
