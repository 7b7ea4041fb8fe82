//! Who may ask, and for how much.

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

/// What is asked for without a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// What only reads and what changes something.
    Everything,
    /// What only reads.
    Reading,
    /// Neither: only whether the program lives, and the page without what it shows.
    Nothing,
}

impl Shared {
    /// What may be asked for without a token: of a router in somebody else's application (`None`), or at an address.
    pub(crate) fn open(&self, listening: Option<SocketAddr>) -> Open {
        let local = listening.is_some_and(|address| address.ip().is_loopback());
        match (&self.token, listening) {
            // Whoever mounts the router may be listening to the whole world.
            (None, None) if self.open_reads == Some(true) => Open::Reading,
            (None, None) => Open::Nothing,
            (None, Some(_)) => Open::Everything,
            (Some(_), _) if self.open_reads.unwrap_or(local) => Open::Reading,
            (Some(_), _) => Open::Nothing,
        }
    }
}

/// Every request: whether it is for us, how long it may take, and what browsers are told.
pub(crate) async fn admit(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let limit = shared.request_timeout;
    let mut response = match shared.is_for_us(&request) {
        Err(detail) => Problem::new(StatusCode::FORBIDDEN, detail).into_response(),
        Ok(()) => timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
            let detail = format!("no answer within {limit:?}");
            Problem::new(StatusCode::GATEWAY_TIMEOUT, detail).into_response()
        }),
    };
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    // What it says is of now.
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

/// Requests that change something. They need no body, and none above the limit is read.
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
            let detail = format!("no body is needed, and none of more than {MAX_BODY} bytes taken");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response()
        }
    }
}

impl Shared {
    /// `Err` tells why it is not.
    fn is_for_us(&self, request: &Request) -> Result<(), String> {
        let (uri, headers) = (request.uri(), request.headers());
        self.hosts.check(uri, headers).map_err(|host| {
            format!(
                "`{host}` is not a name of this service: ask for it by its address or as localhost, or have the name \
                 allowed (`allow_host`)"
            )
        })?;
        if request.method().is_safe() {
            return Ok(());
        }
        self.hosts
            .check_origin(uri, headers)
            .map_err(|origin| format!("a page from `{origin}` may not change anything here"))
    }

    fn authorize(&self, needed: bool, request: &Request) -> Result<(), Problem> {
        let Some(token) = &self.token else {
            let detail = if request.method().is_safe() {
                "this needs a token, and none is configured: configure one, or open reading (`open_reads`)"
            } else {
                "this changes something and needs a token, and none is configured"
            };
            return if needed {
                Err(Problem::new(StatusCode::FORBIDDEN, detail))
            } else {
                Ok(())
            };
        };
        let given = request.headers().get(header::AUTHORIZATION);
        match given {
            _ if !needed => Ok(()),
            Some(given) if token.is_borne_by(given.as_bytes()) => Ok(()),
            Some(_) => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "this is not the token",
            )),
            None => Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "this needs the header `Authorization: Bearer <token>`",
            )),
        }
    }
}

/// Bytes of a body that nobody needs.
const MAX_BODY: usize = 16 * 1024;
