//! A listener for Prometheus, for programs that serve no HTTP themselves.
//!
//! That of metrics-exporter-prometheus starts a task that cannot be ended, and answers without fetching the latest totals.

use std::{convert::Infallible, future::pending, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use mcp_http_server::{RequestBody, Server};
use tokio::net::{TcpListener, ToSocketAddrs};
use tower::service_fn;

use crate::prometheus::Prometheus;

/// Connections at a time: scrapers are few.
const CONNECTIONS: usize = 16;

/// How long a connection may be idle, or take nothing of a response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Answers `GET /metrics` over HTTP, without authentication.
#[derive(Debug)]
pub struct PrometheusListener {
    socket: TcpListener,
    prometheus: Prometheus,
}

impl PrometheusListener {
    /// Listens at an address, which should be a loopback one or guarded otherwise.
    ///
    /// # Errors
    /// If it cannot be bound to.
    pub async fn bind(address: impl ToSocketAddrs, prometheus: Prometheus) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket, prometheus })
    }

    /// The address that it listens at.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers until it is dropped, which closes all connections.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn serve(self) {
        let prometheus = self.prometheus;
        let service = service_fn(move |request| {
            let response = respond(&request, &prometheus);
            async { Ok::<_, Infallible>(response) }
        });
        Server::new()
            .listen(self.socket)
            .max_connections(CONNECTIONS)
            .idle_timeout(TIMEOUT)
            .write_timeout(TIMEOUT)
            .max_header_size(16 * 1024)
            .serve(service, pending())
            .await;
    }
}

fn respond(request: &Request<RequestBody>, prometheus: &Prometheus) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, prometheus.render()),
        (&Method::GET, _) => (
            StatusCode::NOT_FOUND,
            "the metrics are at /metrics\n".into(),
        ),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
