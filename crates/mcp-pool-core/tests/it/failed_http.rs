//! Errors of servers that cannot be reached over HTTP, or do not speak MCP.

use crate::common;
use std::time::Duration;

use common::{assert_balanced, attempt_failed, echo, observed, pool_of, quiet, quiet_with, within};
use mcp_pool_core::{AcquireError, OpenErrorKind, PoolOptions, connect::http::Http};
use mcp_testkit::{HttpOptions, HttpServer, Lateness};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

async fn serve(change: impl FnOnce(&mut HttpOptions)) -> HttpServer {
    let mut options = HttpOptions::default();
    change(&mut options);
    HttpServer::start(options).await
}

/// Says the same to everybody, whatever was asked.
async fn parrot(response: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 64 * 1024];
                if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    let _ = stream.write_all(response.as_bytes()).await;
                    let _ = stream.shutdown().await;
                    // Reads to the end, so that the answer is not lost to a reset.
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {}
                }
            });
        }
    });
    url
}

async fn failure(url: &str, options: PoolOptions) -> (OpenErrorKind, String, usize) {
    let (pool, events) = observed(Http::new(url).unwrap(), options);
    let (machine, began) = (Lateness::watch(), Instant::now());
    let error = within(pool.acquire()).await.unwrap_err();
    machine.assert_within(Duration::from_secs(3), began.elapsed());
    let AcquireError::Open { cause, .. } = error else {
        panic!("not a failed opening: {error:?}");
    };
    assert_eq!(assert_balanced(&pool).connections.total, 0);
    within(pool.close()).await;
    (
        cause.kind(),
        cause.to_string(),
        events.count(attempt_failed),
    )
}

#[tokio::test]
async fn each_status_is_told_as_what_it_means_and_permanent_ones_are_final_at_once() {
    use OpenErrorKind::{Forbidden, Http as Status, Unauthorized};
    const CHALLENGED: &str = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const BARE: &str =
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const FORBIDDEN: &str =
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    const NOWHERE: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    const BROKEN: &str =
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const BUSY: &str =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (response, kind, says, tries) in [
        (CHALLENGED, Unauthorized, "401", 1),
        (BARE, Unauthorized, "401", 1),
        (FORBIDDEN, Forbidden, "403", 1),
        (NOWHERE, Status(404), "check its path", 1),
        (BROKEN, Status(500), "500", 3),
        (BUSY, Status(503), "503", 3),
    ] {
        let options = quiet_with(|options| {
            options.retry_attempts = 2;
            options.retry_delay = Duration::from_millis(5);
        });
        let (found, message, attempts) = failure(&parrot(response).await, options).await;
        assert_eq!(found, kind, "{response}");
        assert!(message.contains(says), "{message}");
        assert_eq!(attempts, tries, "{response}");
    }
}

#[tokio::test]
async fn a_page_that_is_no_mcp_is_told_from_a_server() {
    const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>";
    let (kind, message, _) = failure(&parrot(PAGE).await, quiet()).await;
    assert_eq!(kind, OpenErrorKind::Handshake);
    assert!(message.contains("text/html"), "{message}");
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_unreachable() {
    let mut server = serve(|_| {}).await;
    server.stop().await;
    let (kind, message, _) = failure(&server.url(), quiet()).await;
    assert_eq!(kind, OpenErrorKind::Unreachable);
    assert!(message.contains("refused"), "{message}");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_runs_into_connection_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let pool = pool_of(
        Http::new(url).unwrap(),
        quiet_with(|options| options.connection_timeout = Duration::from_millis(300)),
    );
    let (machine, began) = (Lateness::watch(), Instant::now());
    assert!(within(pool.acquire()).await.is_err());
    machine.assert_within(Duration::from_millis(600), began.elapsed());
    within(pool.close()).await;
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test]
async fn a_server_that_is_busy_at_first_is_waited_for() {
    let server = serve(|options| options.fail_first = 2).await;
    let (pool, events) = observed(
        Http::new(server.url()).unwrap(),
        quiet_with(|options| {
            options.retry_attempts = 3;
            options.retry_delay = Duration::from_millis(10);
        }),
    );
    assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
    assert!(events.count(attempt_failed) >= 1);
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[tokio::test]
async fn the_pool_recovers_by_itself_whatever_was_wrong_with_the_server() {
    for wrong in [None, Some(401), Some(404), Some(500)] {
        let mut server = serve(|options| options.status = wrong).await;
        if wrong.is_none() {
            server.stop().await;
        }
        let pool = pool_of(Http::new(server.url()).unwrap(), quiet());
        assert!(within(pool.acquire()).await.is_err(), "{wrong:?}");
        match wrong {
            None => server.restart().await,
            Some(_) => server.answer_with(None),
        }
        let again = pool.status().retry_after.expect("a time to come back");
        tokio::time::sleep(again + Duration::from_millis(20)).await;
        let lease = within(pool.acquire()).await.unwrap();
        assert_eq!(echo(&lease).await, "hello", "{wrong:?}");
        drop(lease);
        let status = assert_balanced(&pool);
        assert_eq!((status.last_error, status.retry_after), (None, None));
        within(pool.close()).await;
    }
}
