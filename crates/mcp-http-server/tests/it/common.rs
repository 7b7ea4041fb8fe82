//! A server for a test, and raw requests to it.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use mcp_http_server::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// Long enough for anything that ends.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Served {
    /// Serves at a free port, with the settings that `with` adds.
    pub(crate) async fn start(router: Router, with: impl FnOnce(Server) -> Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let server = with(Server::new().listen(listener));
        let serving = tokio::spawn(server.serve(router, async {
            let _ = ended.await;
        }));
        Self {
            address,
            end,
            serving,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection on which a request has been sent.
    pub(crate) async fn send(&self, head: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// The response to a request, until the connection is closed.
    pub(crate) async fn ask(&self, head: &str) -> String {
        read(&mut self.send(head).await).await
    }

    /// Begins the end, and returns what completes when it has come.
    pub(crate) fn begin_end(self) -> JoinHandle<()> {
        let _ = self.end.send(());
        self.serving
    }

    pub(crate) async fn end(self) {
        within(self.begin_end()).await.unwrap();
    }
}

/// All that comes until the connection is closed.
pub(crate) async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut text = Vec::new();
    // A reset ends it, too.
    let _ = within(stream.read_to_end(&mut text)).await;
    String::from_utf8(text).unwrap()
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LONG, future).await.expect("it ends")
}

/// A request whose connection is closed after the response.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}
