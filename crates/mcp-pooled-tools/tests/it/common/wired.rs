//! The test server in this process, behind a connector that counts openings and fails on command.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use mcp_pooled_tools::{
    ConnectionManager, PoolSettings,
    core::{Connected, Connector, Handshake, OpenError, OpenErrorKind, Phase, connect::BoxFuture},
};
use mcp_testkit::TestServer;
use rmcp::{ServerHandler, ServiceExt};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio_util::sync::CancellationToken;

use super::scripted::over_pipe;

/// A connection to a [`TestServer`] with its faults below the protocol; clones are the same connector.
#[derive(Clone)]
pub struct Wired {
    pub server: TestServer,
    connect: Arc<dyn Fn() -> DuplexStream + Send + Sync>,
    state: Arc<State>,
}

/// How openings end.
#[derive(Clone, Copy)]
pub enum Trouble {
    Fails(OpenErrorKind),
    Hangs,
}

struct State {
    trouble: parking_lot::Mutex<Option<Trouble>>,
    opens: AtomicU64,
    lines: parking_lot::Mutex<CancellationToken>,
}

impl Wired {
    pub fn new(server: TestServer) -> Self {
        let connected = server.clone();
        Self {
            connect: Arc::new(move || connected.connect()),
            ..Self::bare(server)
        }
    }

    /// Any other server, one for every connection.
    pub fn over<S: ServerHandler>(make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        let connect = move || {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let server = make();
            #[allow(clippy::disallowed_methods, reason = "ends with its client")]
            tokio::spawn(async move {
                if let Ok(running) = server.serve(theirs).await {
                    let _ = running.waiting().await;
                }
            });
            ours
        };
        Self {
            connect: Arc::new(connect),
            ..Self::bare(TestServer::new())
        }
    }

    /// A test server that never sees lines with this text in them.
    pub fn deaf_to(text: &'static str, server: TestServer) -> Self {
        Self::hearing(move |line| !line.contains(text), server)
    }

    /// A test server that sees the lines of which this is true.
    pub fn hearing(
        hears: impl Fn(&str) -> bool + Send + Sync + 'static,
        server: TestServer,
    ) -> Self {
        let (connected, hears) = (server.clone(), Arc::new(hears));
        let connect = move || {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let (reader, mut answers) = tokio::io::split(theirs);
            let (mut replies, mut writer) = tokio::io::split(connected.connect());
            let hears = Arc::clone(&hears);
            #[allow(clippy::disallowed_methods, reason = "ends with either side")]
            tokio::spawn(async move {
                let hearing = async {
                    let mut lines = BufReader::new(reader).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if hears(&line) {
                            writer.write_all(format!("{line}\n").as_bytes()).await?;
                        }
                    }
                    std::io::Result::Ok(())
                };
                tokio::select! {
                    _ = hearing => {}
                    _ = tokio::io::copy(&mut replies, &mut answers) => {}
                }
            });
            ours
        };
        Self {
            connect: Arc::new(connect),
            ..Self::bare(server)
        }
    }

    fn bare(server: TestServer) -> Self {
        Self {
            connect: Arc::new(|| unreachable!("set by the caller")),
            server,
            state: Arc::new(State {
                trouble: parking_lot::Mutex::default(),
                opens: AtomicU64::new(0),
                lines: parking_lot::Mutex::default(),
            }),
        }
    }

    /// Cuts every connection; openings fail until it is up again.
    pub fn go_down(&self) {
        self.open_with(Trouble::Fails(OpenErrorKind::Unreachable));
        self.cut();
    }

    pub fn come_up(&self) {
        *self.state.trouble.lock() = None;
    }

    /// Has openings end like this until it is up again. The connections there are stay.
    pub fn open_with(&self, trouble: Trouble) {
        *self.state.trouble.lock() = Some(trouble);
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        std::mem::take(&mut *self.state.lines.lock()).cancel();
    }

    /// Openings tried, failed or not.
    pub fn opens(&self) -> u64 {
        self.state.opens.load(Relaxed)
    }

    pub async fn manager(&self, settings: PoolSettings) -> ConnectionManager {
        let settings = settings.over(PoolSettings::new().retry_attempts(0).min_connections(0));
        ConnectionManager::builder()
            .connector("test", self.clone(), settings)
            .build()
            .await
            .expect("the settings of a test are valid")
    }
}

impl Connector for Wired {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            self.state.opens.fetch_add(1, Relaxed);
            let trouble = *self.state.trouble.lock();
            match trouble {
                Some(Trouble::Fails(kind)) => {
                    return Err(OpenError::new(kind, Phase::Open, "it is down"));
                }
                Some(Trouble::Hangs) => std::future::pending().await,
                None => {}
            }
            let mut theirs = (self.connect)();
            let (ours, mut middle) = tokio::io::duplex(64 * 1024);
            let line = self.state.lines.lock().clone();
            #[allow(clippy::disallowed_methods, reason = "ends with either side")]
            tokio::spawn(async move {
                let copying = tokio::io::copy_bidirectional(&mut middle, &mut theirs);
                line.run_until_cancelled(copying).await
            });
            over_pipe(ours, handshake).await
        })
    }
}

/// What the status says of the only pool of the only server.
pub fn status(manager: &ConnectionManager) -> serde_json::Value {
    let status = serde_json::to_value(manager.status()).expect("the status is JSON");
    status["servers"][0]["pools"][0].clone()
}
