//! Which requests are answered: host, origin, token, time and body.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use crate::{admin::Shared, problem::Problem};

/// Bytes of a body, of which no route needs any.
const MAX_BODY: usize = 16 * 1024;

/// What is answered without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// Reading and changing.
    Everything,
    /// Reading.
    Reading,
    /// Neither: only probes, the OpenAPI document, and the page without what it shows.
    Nothing,
}

impl Shared {
    /// What is answered without a token, at an address or, for a router in another application, at `None`.
    pub(crate) fn open(&self, listening: Option<SocketAddr>) -> Open {
        let local = listening.is_some_and(|address| address.ip().is_loopback());
        match (self.tokens.is_empty(), listening) {
            // The application may listen to other machines.
            (true, None) if self.open_reads == Some(true) => Open::Reading,
            (true, None) => Open::Nothing,
            (true, Some(_)) => Open::Everything,
            (false, _) if self.open_reads.unwrap_or(local) => Open::Reading,
            (false, _) => Open::Nothing,
        }
    }

    fn authorize(&self, needed: bool, request: &Request) -> Result<(), Problem> {
        if !needed {
            return Ok(());
        }
        if self.tokens.is_empty() {
            let detail = if request.method().is_safe() {
                "this needs a token, and none is configured: configure one, or open reading (`open_reads`)"
            } else {
                "this changes something and needs a token, and none is configured"
            };
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        match self.tokens.authenticate(request.headers()) {
            Ok(_) => Ok(()),
            Err(error) => Err(Problem::new(StatusCode::UNAUTHORIZED, error.to_string())),
        }
    }

    /// Whether the request asks for this service, and comes from no page of another site if it changes something.
    fn screen(&self, request: &Request) -> Result<(), Problem> {
        let forbidden = |detail: String| Problem::new(StatusCode::FORBIDDEN, detail);
        let host = self.hosts.check_host(request);
        host.map_err(|error| forbidden(error.to_string()))?;
        if request.method().is_safe() {
            return Ok(());
        }
        let origin = self.hosts.check_origin(request);
        origin.map_err(|error| forbidden(error.to_string()))
    }
}

/// Every request: host and origin, time limit, and headers of the response.
pub(crate) async fn admit(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let limit = shared.request_timeout;
    let mut response = match shared.screen(&request) {
        Err(problem) => problem.into_response(),
        Ok(()) => timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
            let detail = format!("no answer within {limit:?}");
            Problem::new(StatusCode::GATEWAY_TIMEOUT, detail).into_response()
        }),
    };
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    // A response describes the present moment.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Requests that only read.
pub(crate) async fn read(
    State((shared, open)): State<(Arc<Shared>, Open)>,
    request: Request,
    next: Next,
) -> Response {
    match shared.authorize(open == Open::Nothing, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Requests that change something. A body within the limit is ignored.
pub(crate) async fn change(
    State((shared, open)): State<(Arc<Shared>, Open)>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(problem) = shared.authorize(open != Open::Everything, &request) {
        return problem.into_response();
    }
    let (parts, body) = request.into_parts();
    match to_bytes(body, MAX_BODY).await {
        Ok(_) => next.run(Request::from_parts(parts, Body::empty())).await,
        Err(_) => {
            let detail = format!("no body is needed, and at most {MAX_BODY} bytes are accepted");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response()
        }
    }
}
