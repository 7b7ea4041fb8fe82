//! A Unix socket beside TCP.

#![cfg(unix)]

use axum::{Extension, Router, routing::get as on_get};
use mcp_http_server::Peer;
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
};

use crate::common::{Served, get, read};

#[tokio::test]
async fn a_unix_socket_is_served_beside_tcp_and_requests_know_their_peer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let router = Router::new().route(
        "/",
        on_get(async |Extension(peer): Extension<Peer>| match peer {
            Peer::Unix => "unix".to_owned(),
            Peer::Tcp(address) => format!("tcp {}", address.ip()),
            _ => "other".to_owned(),
        }),
    );
    let served = Served::start(router, |server| server.listen(socket)).await;
    let over_tcp = served.ask(&get("/")).await;
    assert!(over_tcp.ends_with("tcp 127.0.0.1"), "{over_tcp}");
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(get("/").as_bytes()).await.unwrap();
    let over_unix = read(&mut stream).await;
    assert!(over_unix.ends_with("unix"), "{over_unix}");
    served.end().await;
    assert!(UnixStream::connect(&path).await.is_err());
}
