//! One connection: its requests, and the limits on them.

use std::{convert::Infallible, error::Error, pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, header};
use http_body_util::{Either, Full, Limited};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tower::{Service, ServiceExt};

use crate::{
    connection_limit::{InFlight, Slot},
    guarded_body::GuardedBody,
    listener::{Peer, Stream},
    server::Limits,
    shutdown::Shutdown,
    write_timeout::WriteTimeout,
};

/// The body of a request, which ends with an error beyond the limit.
pub type RequestBody = Limited<Incoming>;

type ResponseBody<B> = GuardedBody<Either<B, Full<Bytes>>, InFlight>;

/// Paths, or ends of them, that are answered when no other request is.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

pub(crate) async fn serve<S, B>(
    stream: Stream,
    peer: Peer,
    slot: Slot,
    service: S,
    limits: Limits,
    shutdown: Shutdown,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let stream = WriteTimeout::new(stream, limits.write_timeout, shutdown.stopping_token());
    let evicted = slot.evicted.clone();
    let slot = Arc::new(slot);
    let service = service_fn(move |request| {
        let in_flight = slot.request();
        respond(in_flight, peer, service.clone(), limits, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(limits.max_header_size)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // Nothing is under way on it.
        () = evicted.cancelled() => return,
        () = shutdown.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("connection closed: {error}");
    }
}

/// The response to a request. The connection is busy until the last byte of it is written or dropped.
async fn respond<S, B>(
    in_flight: InFlight,
    peer: Peer,
    service: S,
    limits: Limits,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody<B>>, Infallible>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes>,
{
    let path = request.uri().path();
    let is_probe = PROBES.iter().any(|probe| path.ends_with(probe));
    let declared = request.body().size_hint().lower();
    let response = if in_flight.only_probes() && !is_probe {
        let connections = limits.max_connections;
        let detail = format!("{connections} connections have requests under way; try again later");
        refusal(StatusCode::SERVICE_UNAVAILABLE, &detail)
    } else if declared > limits.max_body_size as u64 {
        let limit = limits.max_body_size;
        let detail = format!("the body has {declared} bytes, more than {limit}");
        refusal(StatusCode::PAYLOAD_TOO_LARGE, &detail)
    } else {
        request.extensions_mut().insert(peer);
        let request = request.map(|body| Limited::new(body, limits.max_body_size));
        service.oneshot(request).await?.map(Either::Left)
    };
    Ok(response.map(|body| GuardedBody::new(body, in_flight)))
}

/// A response of the server's own, in the form of RFC 9457. `detail` needs no escapes.
fn refusal<B>(status: StatusCode, detail: &str) -> Response<Either<B, Full<Bytes>>> {
    let title = status.canonical_reason().unwrap_or("Error");
    let status_code = status.as_u16();
    let problem = format!(r#"{{"status":{status_code},"title":"{title}","detail":"{detail}"}}"#);
    let mut response = Response::new(Either::Right(Full::from(problem)));
    *response.status_mut() = status;
    let headers: [(HeaderName, &str); 2] = [
        (header::CONTENT_TYPE, "application/problem+json"),
        (header::CONNECTION, "close"),
    ];
    for (name, value) in headers {
        let value = http::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}
