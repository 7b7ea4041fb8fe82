//! The order of a shutdown.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::StatusCode, routing::get as on_get};
use futures::{StreamExt, stream};
use mcp_http_server::Shutdown;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::common::{Served, get, read, within};

/// `/readyz`, `/wait`, and `/events`, a stream that ends with the server.
fn router(shutdown: &Shutdown, entered: &Arc<Notify>, go: &Arc<Notify>) -> Router {
    let (entered, go) = (Arc::clone(entered), Arc::clone(go));
    let (ready, stopping) = (shutdown.clone(), shutdown.clone());
    Router::new()
        .route(
            "/readyz",
            on_get(async move || match ready.is_draining() {
                true => StatusCode::SERVICE_UNAVAILABLE,
                false => StatusCode::OK,
            }),
        )
        .route(
            "/wait",
            on_get(async move || {
                entered.notify_one();
                go.notified().await;
                "waited"
            }),
        )
        .route(
            "/events",
            on_get(async move || {
                let first = stream::once(async { "first\n" });
                let last = stream::once(async move {
                    stopping.stopping().await;
                    "last\n"
                });
                Body::from_stream(first.chain(last).map(Ok::<_, Infallible>))
            }),
        )
}

#[tokio::test]
async fn requests_are_served_while_draining_and_those_under_way_after_it() {
    let shutdown = Shutdown::new();
    let (entered, go) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let served = Served::start(router(&shutdown, &entered, &go), |server| {
        let delay = Duration::from_secs(2);
        server.shutdown(shutdown.clone()).drain_delay(delay)
    })
    .await;
    assert!(
        served
            .ask(&get("/readyz"))
            .await
            .starts_with("HTTP/1.1 200")
    );
    let mut waiting = served.send(&get("/wait")).await;
    within(entered.notified()).await;
    let address = served.address;
    // Connected before the end, asked after it has begun.
    let mut probe = served.connect().await;
    let ended = served.begin_end();
    while !shutdown.is_draining() {
        tokio::task::yield_now().await;
    }
    let request = get("/readyz");
    probe.write_all(request.as_bytes()).await.unwrap();
    let not_ready = read(&mut probe).await;
    assert!(not_ready.starts_with("HTTP/1.1 503"), "{not_ready}");

    within(shutdown.stopping()).await;
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(refused).await;
    assert!(!ended.is_finished(), "a request is under way");
    go.notify_one();
    let response = read(&mut waiting).await;
    assert!(response.ends_with("waited"), "{response}");
    within(ended).await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_after_the_grace() {
    let (entered, go) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let served = Served::start(router(&Shutdown::new(), &entered, &go), |server| {
        server.grace(Duration::from_millis(200))
    })
    .await;
    let mut stuck = served.send(&get("/wait")).await;
    within(entered.notified()).await;
    served.end().await;
    assert_eq!(read(&mut stuck).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_once_in_the_end() {
    let (entered, go) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let served = Served::start(router(&Shutdown::new(), &entered, &go), |server| {
        // The end waits for nothing.
        server.grace(Duration::MAX)
    })
    .await;
    let mut idle = served.connect().await;
    served.end().await;
    assert!(matches!(idle.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn an_event_stream_ends_at_stopping_and_is_written_to_its_end() {
    let shutdown = Shutdown::new();
    let (entered, go) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let served = Served::start(router(&shutdown, &entered, &go), |server| {
        server.shutdown(shutdown.clone()).grace(Duration::MAX)
    })
    .await;
    let mut events = served.send(&get("/events")).await;
    let mut head = Vec::new();
    while !head.ends_with(b"first\n\r\n") {
        head.push(within(events.read_u8()).await.unwrap());
    }
    served.end().await;
    let rest = read(&mut events).await;
    assert!(rest.contains("last"), "{rest}");
}

/// As the page of a laptop that sleeps. The grace would wait without end.
#[tokio::test]
async fn a_peer_that_reads_no_response_does_not_hold_up_the_end() {
    let entered = Arc::<Notify>::default();
    let chunks = {
        let entered = Arc::clone(&entered);
        move || {
            entered.notify_one();
            Ok::<_, Infallible>(vec![b'x'; 64 * 1024])
        }
    };
    let endless = on_get(async move || Body::from_stream(stream::repeat_with(chunks.clone())));
    let served = Served::start(Router::new().route("/endless", endless), |server| {
        server.grace(Duration::MAX)
    })
    .await;
    let _stuck = served.send(&get("/endless")).await;
    within(entered.notified()).await;
    served.end().await;
}
