//! Limits on idle and on busy connections.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::{get as on_get, post},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use crate::common::{Served, get, read, within};

const MAX: usize = 4;

/// `/healthz`, `/wait`, which answers once `go` is notified, and `/echo`.
fn router(entered: &Arc<Notify>, go: &Arc<Notify>) -> Router {
    let (entered, go) = (Arc::clone(entered), Arc::clone(go));
    Router::new()
        .route("/healthz", on_get(async || "ok"))
        .route("/echo", post(async |body: Bytes| body))
        .route(
            "/wait",
            on_get(async move || {
                entered.notify_one();
                go.notified().await;
                "waited"
            }),
        )
}

#[tokio::test]
async fn idle_connections_keep_no_other_out() {
    let served = Served::start(router(&Arc::default(), &Arc::default()), |server| {
        server.max_connections(MAX)
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..3 * MAX {
        idle.push(served.connect().await);
    }
    assert!(
        served
            .ask(&get("/healthz"))
            .await
            .starts_with("HTTP/1.1 200")
    );
    // The first was idle for longest.
    let mut byte = [0; 1];
    let first = within(idle[0].read(&mut byte)).await;
    assert!(matches!(first, Ok(0) | Err(_)), "{first:?}");
    served.end().await;
}

#[tokio::test]
async fn with_a_request_on_every_connection_only_probes_are_answered() {
    let (entered, go) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let served = Served::start(router(&entered, &go), |server| server.max_connections(MAX)).await;
    let mut busy: Vec<TcpStream> = Vec::new();
    for _ in 0..MAX {
        busy.push(served.send(&get("/wait")).await);
        within(entered.notified()).await;
    }
    for _ in 0..3 {
        assert!(
            served
                .ask(&get("/healthz"))
                .await
                .starts_with("HTTP/1.1 200")
        );
    }
    let refused = served.ask(&get("/wait")).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("application/problem+json"), "{refused}");
    for stream in &mut busy {
        go.notify_one();
        let response = read(stream).await;
        assert!(response.ends_with("waited"), "{response}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_request_that_is_not_sent_is_not_waited_for() {
    let soon = Duration::from_millis(300);
    let served = Served::start(router(&Arc::default(), &Arc::default()), |server| {
        server.idle_timeout(soon)
    })
    .await;
    for sent in ["", "GET /healthz HTTP/1.1\r\nHost: loc"] {
        assert_eq!(served.ask(sent).await, "", "{sent}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let served = Served::start(router(&Arc::default(), &Arc::default()), |server| {
        server.max_header_size(16 * 1024)
    })
    .await;
    for (size, status) in [(8 * 1024, "200"), (64 * 1024, "431")] {
        let filler = "x".repeat(size);
        let head = get("/healthz").replace("\r\n\r\n", &format!("\r\nX: {filler}\r\n\r\n"));
        let mut stream = served.connect().await;
        // The rest of it may not be taken.
        let _ = stream.write_all(head.as_bytes()).await;
        let response = read(&mut stream).await;
        // Or nothing, if the rest was still on its way.
        let refused = response.is_empty() && status == "431";
        assert!(
            refused || response.starts_with(&format!("HTTP/1.1 {status}")),
            "{size}: {response}"
        );
    }
    served.end().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let served = Served::start(router(&Arc::default(), &Arc::default()), |server| {
        server.max_body_size(1_000)
    })
    .await;
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    for (size, status) in [(1_000, "200"), (1_001, "413")] {
        let body = "x".repeat(size);
        let request = format!("{head}Content-Length: {size}\r\n\r\n{body}");
        let response = served.ask(&request).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{size}: {response}"
        );
    }
    // axum makes 413 of the error that the handler's extractor meets.
    let chunk = format!("200\r\n{}\r\n", "x".repeat(0x200));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    let response = served.ask(&chunked).await;
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
    served.end().await;
}

/// As the page of a laptop that sleeps.
#[tokio::test]
async fn a_peer_that_reads_no_response_is_closed() {
    let endless = Router::new().route(
        "/endless",
        on_get(async || {
            let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
            let chunks =
                futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
            Body::from_stream(chunks)
        }),
    );
    let soon = Duration::from_millis(300);
    let served = Served::start(endless, |server| {
        server.write_timeout(soon).max_connections(1)
    })
    .await;
    let _stuck = served.send(&get("/endless")).await;
    // It is busy until it is closed, and holds the only slot.
    let answered = async {
        while !served
            .ask(&get("/nothing"))
            .await
            .starts_with("HTTP/1.1 404")
        {
            tokio::time::sleep(soon / 10).await;
        }
    };
    within(answered).await;
    served.end().await;
}
