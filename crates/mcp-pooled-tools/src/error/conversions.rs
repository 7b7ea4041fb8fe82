//! Conversions from and to the errors of other crates.

use std::any::TypeId;

use mcp_config::ConfigError;
use mcp_pool_core::{AuthChallenge, CallFailure, OpenErrorKind};
use rmcp::{ErrorData, model::ErrorCode, service::ServiceError, transport::DynamicTransportError};

use super::{Error, ErrorKind, cleaned};

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        let message = error
            .problems()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        Self::new(ErrorKind::Config, message)
    }
}

/// For code that was written against the plain client and passes its errors on: nothing is lost, the whole
/// [`Error`] travels inside [`ServiceError::TransportSend`].
impl From<Error> for ServiceError {
    fn from(mut error: Error) -> Self {
        if let Some(max_rounds) = error.0.rounds {
            return Self::InputRequiredRoundsExceeded { max_rounds };
        }
        match error.0.protocol.take() {
            Some(data) => Self::McpError(data),
            None => Self::TransportSend(DynamicTransportError::from_parts(
                "mcp-pooled-tools",
                TypeId::of::<Error>(),
                Box::new(error),
            )),
        }
    }
}

impl Error {
    /// The error as a JSON-RPC client gets it: the server's own, intact, or one of ours with `data.source`, its kind, and
    /// where it happened.
    #[must_use]
    pub fn to_protocol(&self) -> ErrorData {
        if let Some(data) = &self.0.protocol {
            return data.clone();
        }
        let mut data = serde_json::Map::new();
        data.insert("source".into(), "mcp-pool".into());
        data.insert("kind".into(), self.kind().as_str().into());
        if let Some(server) = self.server() {
            data.insert("server".into(), server.into());
        }
        if let Some(phase) = self.phase() {
            data.insert("phase".into(), phase.as_str().into());
        }
        if let Some(retry_after) = self.retry_after() {
            data.insert("retryAfterSeconds".into(), retry_after.as_secs_f64().into());
        }
        let code = match self.kind() {
            ErrorKind::Validation => ErrorCode::INVALID_PARAMS,
            _ => ErrorCode::INTERNAL_ERROR,
        };
        ErrorData::new(code, self.to_string(), Some(data.into()))
    }
}

/// So that both kinds of client fit one trait.
impl From<ServiceError> for Error {
    fn from(error: ServiceError) -> Self {
        let failure = CallFailure::of(&error);
        let kind = match (&error, failure) {
            (ServiceError::McpError(_), _) | (_, CallFailure::Answered) => ErrorKind::Protocol,
            (ServiceError::Timeout { .. }, _) => ErrorKind::Timeout,
            (_, CallFailure::Rejected(OpenErrorKind::Unauthorized | OpenErrorKind::Forbidden)) => {
                ErrorKind::Authentication
            }
            (_, CallFailure::Lost) => ErrorKind::OutcomeUnknown,
            _ => ErrorKind::Connection,
        };
        let mut converted = Self::new(kind, cleaned(&CallFailure::reason(&error)));
        if let ServiceError::McpError(data) = &error {
            converted.0.protocol = Some(data.clone());
        }
        converted.0.challenge = AuthChallenge::of(&error);
        converted.caused_by(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_names_its_server() {
        let error = Error::new(ErrorKind::Connection, "it broke").of(&"github".into());
        assert_eq!(error.to_string(), "server `github`: it broke");
        let odd = Error::new(ErrorKind::Config, "it is disabled").of(&"a\u{1b}[2J\n".into());
        assert_eq!(odd.to_string(), "server `a\\u{1b}[2J\\n`: it is disabled");
        let plain: ServiceError = error.into();
        let ServiceError::TransportSend(carrier) = plain else {
            panic!("not {plain}");
        };
        assert!(
            carrier.error.downcast_ref::<Error>().is_some(),
            "the whole error travels inside"
        );
    }
}
