//! The listener: a scrape over a real socket.

use crate::common;
use std::{net::SocketAddr, time::Duration};

use mcp_metrics::{CallOutcome, Metrics, Prometheus, PrometheusListener};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(request).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_scrape_is_answered_with_the_numbers_of_that_moment_and_nothing_else_is() {
    let metrics = Metrics::new();
    let listener = PrometheusListener::bind(("127.0.0.1", 0), Prometheus::new(metrics.clone()))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let scrapes = async {
        // A silent connection is not in the way.
        let _silent = TcpStream::connect(address).await.unwrap();
        for call in 1..=3 {
            let server = metrics.server("time");
            server.call(
                "tools/call",
                None,
                CallOutcome::Ok,
                Duration::from_millis(1),
            );
            let answer = ask(
                address,
                b"GET /metrics?x=1 HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n",
            )
            .await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(
                head.contains(&format!("content-length: {}\r\n", body.len())),
                "{head}"
            );
            assert_eq!(
                common::parse(body).sum("mcp_calls_total", &[]),
                f64::from(call)
            );
        }
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"[..], "404"),
            (
                b"POST /metrics HTTP/1.1\r\nconnection: close\r\n\r\n",
                "405",
            ),
            (b"GET\r\n\r\n", "400"),
            (b"\xff\xfe\r\n\r\n", "400"),
        ] {
            let answer = ask(address, request).await;
            assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
        }
    };
    tokio::select! {
        () = listener.serve() => unreachable!("it serves until it is dropped"),
        () = scrapes => {}
    }
    assert!(TcpStream::connect(address).await.is_err());
}
