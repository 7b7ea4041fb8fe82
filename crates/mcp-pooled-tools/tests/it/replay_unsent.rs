//! A call that was not sent is repeated on another session.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, PoolSettings, Replay,
    core::{
        Connected, Connector, Handshake, OpenError, TransportReport,
        connect::{BoxFuture, lines::LineTransport},
    },
};
use mcp_testkit::TestServer;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::AsyncWrite;

/// A server whose connection, on command, takes nothing more: the pipe of one that has closed its stdin and lives on.
#[derive(Clone)]
struct Tearing {
    server: TestServer,
    last: Arc<Mutex<Arc<AtomicBool>>>,
}

struct Torn<W> {
    writer: W,
    torn: Arc<AtomicBool>,
}

impl Tearing {
    fn tear(&self) {
        self.last.lock().store(true, Relaxed);
    }
}

impl Connector for Tearing {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let torn = Arc::new(AtomicBool::new(false));
            *self.last.lock() = Arc::clone(&torn);
            let (reader, writer) = tokio::io::split(self.server.connect());
            let report = Arc::new(TransportReport::default());
            let transport =
                LineTransport::new(reader, Torn { writer, torn }, 16 << 20, Arc::clone(&report));
            handshake.perform(transport, report).await
        })
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Torn<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.torn.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn what_was_not_sent_runs_once_whatever_the_tool_and_not_at_all_if_never_repeated() {
    for (replay, trusted) in [
        (Replay::Safe, true),
        (Replay::Safe, false),
        (Replay::Always, true),
        (Replay::Never, true),
    ] {
        let tearing = Tearing {
            server: TestServer::new(),
            last: Arc::default(),
        };
        let settings = PoolSettings::new()
            .min_connections(0)
            .replay(replay)
            .trust_annotations(trusted);
        let manager = ConnectionManager::builder()
            .connector("test", tearing.clone(), settings)
            .build()
            .await
            .unwrap();
        let tools = manager.tools("test").unwrap();
        for tool in ["count", "echo"] {
            tools.call("whoami", json!({})).await.unwrap();
            let (runs, opened) = (
                tearing.server.calls_of(tool),
                manager.pool_status("test").unwrap().opened,
            );
            tearing.tear();
            let outcome = tools.call(tool, json!({ "message": "m" })).await;
            let again = replay != Replay::Never;
            assert_eq!(outcome.is_ok(), again, "{replay} {tool}: {outcome:?}");
            if let Err(error) = outcome {
                assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
                assert!(error.is_retryable(), "it had no effect: {error}");
            }
            let more = u64::from(again);
            assert_eq!(
                tearing.server.calls_of(tool),
                runs + more,
                "{replay} {tool}"
            );
            let status = manager.pool_status("test").unwrap();
            assert_eq!(status.opened, opened + more, "{replay} {tool}");
        }
        manager.shutdown().await;
    }
}
