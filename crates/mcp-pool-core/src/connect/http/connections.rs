//! The connections to one server, which all its sessions share.
//!
//! Plain HTTP goes over connections of our own ([`super::quick_ack`]). reqwest, which gives no access to its sockets, does
//! the rest: TLS, proxies and redirects.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Method, Uri, header::ACCEPT};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Body, Request, RequestBuilder, Response};

use super::{
    failure::HttpFailure,
    quick_ack::{PlainClient, plain_client},
};
use crate::error::{OpenError, OpenErrorKind, Phase};

/// How long a connection is kept without use.
const IDLE: Duration = Duration::from_secs(90);

/// The connections to one server. Clones share them.
#[derive(Clone)]
pub struct HttpClient(Arc<Inner>);

struct Inner {
    reqwest: reqwest::Client,
    plain: PlainClient,
    proxies: Matcher,
    /// Whether the server has redirected a request: all others are redirected, too.
    redirects: AtomicBool,
}

impl HttpClient {
    pub(super) fn new() -> Result<Self, OpenError> {
        let reqwest = reqwest::Client::builder()
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE)
            .redirect(within_origin())
            .build()
            .map_err(|error| {
                let message = "no HTTP client could be made";
                OpenError::new(OpenErrorKind::Config, Phase::Open, message).with_source(error)
            })?;
        Ok(Self(Arc::new(Inner {
            reqwest,
            plain: plain_client(IDLE),
            proxies: Matcher::from_system(),
            redirects: AtomicBool::new(false),
        })))
    }

    /// A request to be [sent](Self::send).
    pub(super) fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.0.reqwest.request(method, url)
    }

    /// Sends a request and returns the head of the response.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, HttpFailure> {
        let request = request.build();
        let request = request.map_err(|error| HttpFailure::of_request(&error))?;
        let Some(plain) = self.0.plain_form(&request) else {
            return self.execute(request).await;
        };
        let response = self.0.plain.request(plain).await;
        let response = response.map_err(|error| HttpFailure::of_plain_request(&error))?;
        if is_followed(response.status().as_u16()) {
            self.0.redirects.store(true, Ordering::Relaxed);
            return self.execute(request).await;
        }
        Ok(response.map(Body::wrap).into())
    }

    async fn execute(&self, request: Request) -> Result<Response, HttpFailure> {
        let response = self.0.reqwest.execute(request).await;
        response.map_err(|error| HttpFailure::of_request(&error))
    }
}

impl Inner {
    /// The request for the plain client; `None` if it needs what only reqwest has.
    fn plain_form(&self, request: &Request) -> Option<http::Request<Body>> {
        if request.url().scheme() != "http" || self.redirects.load(Ordering::Relaxed) {
            return None;
        }
        let mut plain = http::Request::try_from(request.try_clone()?).ok()?;
        if self.uses_proxy(plain.uri()) {
            return None;
        }
        let headers = plain.headers_mut();
        let accept = headers.entry(ACCEPT);
        accept.or_insert(HeaderValue::from_static("*/*"));
        Some(plain)
    }

    fn uses_proxy(&self, uri: &Uri) -> bool {
        self.proxies.intercept(uri).is_some()
    }
}

/// Whether a redirect keeps method and body.
fn is_followed(status: u16) -> bool {
    matches!(status, 307 | 308)
}

/// Follows `/mcp` to `/mcp/`, as many servers want it, but carries no header, and no secret in it, to another host. A
/// redirect that turns a POST into a GET is not followed: the message would be lost.
fn within_origin() -> reqwest::redirect::Policy {
    const MOST: usize = 10;
    reqwest::redirect::Policy::custom(|attempt| {
        let from = attempt.previous().first().map(reqwest::Url::origin);
        if attempt.previous().len() > MOST {
            attempt.error("too many redirects")
        } else if from == Some(attempt.url().origin()) && is_followed(attempt.status().as_u16()) {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}
