//! A listener for Prometheus, for programs that serve no HTTP themselves.
//!
//! Not that of metrics-exporter-prometheus: it starts a task that nobody can end, answers without asking for the latest
//! numbers, and brings an HTTP stack. A scrape is one request on a connection of its own, which fits on a page.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, ToSocketAddrs},
    task::JoinSet,
    time::timeout,
};

use crate::prometheus::Prometheus;

/// Answers `GET /metrics` over HTTP, to anybody who can reach it.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    prometheus: Prometheus,
}

impl Listener {
    /// Listens at an address. There is no authentication: bind to a loopback or otherwise guarded one.
    ///
    /// # Errors
    /// If it cannot be bound to.
    pub async fn bind(address: impl ToSocketAddrs, prometheus: Prometheus) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        Ok(Self { socket, prometheus })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers until it is dropped. It runs nothing beside itself: connections end with it.
    ///
    /// # Cancel safety
    /// May be dropped at any point.
    pub async fn serve(&self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((connection, _)) => {
                        let prometheus = self.prometheus.clone();
                        connections.spawn(async move {
                            // A scraper that went away has nobody to be told.
                            let _ = timeout(PATIENCE, answer(connection, &prometheus)).await;
                        });
                    }
                    // Out of descriptors, most likely: that passes, and would otherwise be tried at full speed.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn answer(mut connection: TcpStream, prometheus: &Prometheus) -> io::Result<()> {
    let (status, body) = match request_line(&mut connection)
        .await?
        .split(' ')
        .collect::<Vec<_>>()[..]
    {
        ["GET", path, _] if path.split('?').next() == Some("/metrics") => {
            ("200 OK", prometheus.render())
        }
        ["GET", ..] => ("404 Not Found", "the metrics are at /metrics\n".into()),
        [_, _, _] => ("405 Method Not Allowed", "only GET\n".into()),
        _ => ("400 Bad Request", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body.as_bytes()).await?;
    connection.shutdown().await
}

/// The first line of a request, which is read to the end of its head; nothing if that is too long.
async fn request_line(connection: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD || connection.read_buf(&mut head).await? == 0 {
            return Ok(String::new());
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

/// At once: scrapers are few.
const CONNECTIONS: usize = 16;

/// The longest head of a request, in bytes.
const HEAD: usize = 16 * 1024;

/// For a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
