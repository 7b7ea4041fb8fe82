//! Idle or busy connections do not lock out others.

use crate::common;
use common::{LONG, Served, in_process};
use mcp_pooled_tools::PoolSettings;
use mcp_testkit::TestServer;
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

async fn served() -> Served {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    Served::start(manager, |admin| admin).await
}

async fn healthy(served: &Served) -> String {
    let ask = served.raw("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    timeout(LONG, ask).await.expect("a probe is answered")
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let served = served().await;
    let mut silent = Vec::new();
    // More than there are places.
    for _ in 0..600 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    assert!(healthy(&served).await.starts_with("HTTP/1.1 200"));
    let (status, _) = served.get("/api/v1/mcp/status").await;
    assert_eq!(status, StatusCode::OK);
    // The first were the longest idle.
    let mut byte = [0; 1];
    let first = silent[0].read(&mut byte);
    assert!(matches!(
        timeout(LONG, first).await.unwrap(),
        Ok(0) | Err(_)
    ));
    served.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_is_answered_while_every_place_has_a_request_under_way() {
    let served = served().await;
    let mut busy = JoinSet::new();
    for _ in 0..512 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let many = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1_000);
        busy.spawn(async move {
            let (mut reads, mut writes) = stream.split();
            let mut answers = vec![0; 64 * 1024];
            let asking = async { writes.write_all(many.as_bytes()).await };
            let reading = async { while let Ok(1..) = reads.read(&mut answers).await {} };
            tokio::join!(asking, reading)
        });
    }
    for _ in 0..5 {
        assert!(healthy(&served).await.starts_with("HTTP/1.1 200"));
    }
    busy.shutdown().await;
    served.end().await;
}
