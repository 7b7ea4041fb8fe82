//! HTTP faults and counters in front of the protocol: refused requests, tokens and status codes.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use parking_lot::Mutex;
use rmcp::{
    model::ProtocolVersion,
    transport::streamable_http_server::{
        StreamableHttpService, session::local::LocalSessionManager,
    },
};

use crate::{Era, HttpOptions, TestServer};

pub(crate) type Mcp = StreamableHttpService<TestServer, LocalSessionManager>;
type Reply = Response<BoxBody<Bytes, Infallible>>;

/// One server's faults; it outlives restarts.
#[derive(Debug)]
pub(crate) struct HttpFaults {
    pub(crate) options: HttpOptions,
    pub(crate) bearer: Mutex<Option<String>>,
    pub(crate) status: Mutex<Option<u16>>,
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) posts: AtomicU64,
    pub(crate) gets: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) unauthorized: AtomicU64,
}

impl HttpFaults {
    pub(crate) fn new(mut options: HttpOptions) -> Self {
        if options.era != Era::Both {
            options.server = options.server.with_era(options.era);
        }
        Self {
            bearer: Mutex::new(options.bearer.clone()),
            status: Mutex::new(options.status),
            options,
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            posts: AtomicU64::new(0),
            gets: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
            unauthorized: AtomicU64::new(0),
        }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>, mcp: &Mcp) -> Reply {
        let number = self.requests.fetch_add(1, Relaxed);
        match *request.method() {
            Method::POST => self.posts.fetch_add(1, Relaxed),
            Method::GET => self.gets.fetch_add(1, Relaxed),
            Method::DELETE => self.deletes.fetch_add(1, Relaxed),
            _ => 0,
        };
        if let Some(status) = self.turn_away(number, &request) {
            if status == StatusCode::UNAUTHORIZED {
                self.unauthorized.fetch_add(1, Relaxed);
            }
            return reply(status);
        }
        // rmcp refuses a modern `ping` before it asks the handler, so it is counted here.
        if is_modern(request.headers(), "ping") {
            self.options.server.saw_request("ping");
        }
        mcp.handle(request).await
    }

    fn turn_away(&self, number: u64, request: &Request<Incoming>) -> Option<StatusCode> {
        if let Some(status) = *self.status.lock() {
            let status = StatusCode::from_u16(status);
            return Some(status.expect("the status is one of HTTP"));
        }
        if number < self.options.fail_first as u64 {
            return Some(StatusCode::SERVICE_UNAVAILABLE);
        }
        let looks =
            !self.options.bearer_for_calls_only || is_modern(request.headers(), "tools/call");
        if let Some(token) = self.bearer.lock().as_ref().filter(|_| looks) {
            let given = request.headers().get(header::AUTHORIZATION);
            if given.is_none_or(|given| given.as_bytes() != format!("Bearer {token}").as_bytes()) {
                return Some(StatusCode::UNAUTHORIZED);
            }
        }
        (request.uri().path() != PATH).then_some(StatusCode::NOT_FOUND)
    }
}

/// Whether a modern client asks for this method.
fn is_modern(headers: &HeaderMap, method: &str) -> bool {
    let is = |name: &str, wanted: &str| headers.get(name).is_some_and(|value| value == wanted);
    is("mcp-method", method)
        && is(
            "mcp-protocol-version",
            ProtocolVersion::V_2026_07_28.as_str(),
        )
}

fn reply(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(status.to_string())).boxed());
    *reply.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        let challenge = header::HeaderValue::from_static(CHALLENGE);
        reply
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    reply
}

/// Where the protocol is served.
pub(crate) const PATH: &str = "/mcp";
const CHALLENGE: &str = r#"Bearer realm="mcp-testkit", error="invalid_token""#;
