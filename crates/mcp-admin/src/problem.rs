//! Error responses, in the form of RFC 9457.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mcp_pooled_tools::{Error, ErrorKind};
use serde::Serialize;
use utoipa::ToSchema;

/// An error response: `application/problem+json`, as in RFC 9457.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// The HTTP status.
    status: u16,
    /// The same in words.
    title: &'static str,
    /// What failed, why, and what to do.
    detail: String,
    /// The invalid parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The configured servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_servers: Option<Vec<String>>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            field: None,
            known_servers: None,
        }
    }

    pub(crate) fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: Some(field.into()),
            ..Self::new(StatusCode::BAD_REQUEST, detail)
        }
    }

    pub(crate) fn unknown_server(name: &str, known: Vec<String>) -> Self {
        let detail = if known.is_empty() {
            format!("there is no server `{name}`; none is configured")
        } else {
            format!("there is no server `{name}`; known: {}", known.join(", "))
        };
        Self {
            known_servers: Some(known),
            ..Self::new(StatusCode::NOT_FOUND, detail)
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            // The server is known at this point.
            ErrorKind::Config => StatusCode::CONFLICT,
            ErrorKind::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"mcp-pool\""),
            );
        }
        response
    }
}
