//! The cause that keeps a real server from opening is reported to all waiters as soon as it is known.

use crate::common;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    acquire_apart, assert_balanced, pool_of, quiet, quiet_with,
    servers::{marker, server, shell},
    within,
};
use mcp_pool_core::{
    AcquireError, Connected, Connector, Handshake, OpenError, OpenErrorKind, Phase, SessionPool,
    connect::{BoxFuture, http::Http, stdio::Stdio},
};
use mcp_testkit::{HttpOptions, HttpServer, Lateness, process};
use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::JoinSet};

/// A connector that goes on when it is let, and notes when it last failed: some failures start it over at once.
struct Held<C> {
    connector: C,
    gate: Semaphore,
    failed: Mutex<Option<Instant>>,
}

impl<C: Connector> Connector for Held<C> {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(async move {
            let _open = self.gate.acquire().await.unwrap();
            let outcome = self.connector.connect(handshake).await;
            *self.failed.lock() = Some(Instant::now());
            outcome
        })
    }
}

/// Five callers at an empty pool, all in line: one for whom a session is opened, and four behind it.
struct Callers {
    waiting: JoinSet<(Result<(), AcquireError>, Instant)>,
    machine: Lateness,
}

impl Callers {
    async fn in_line(pool: &SessionPool) -> Self {
        let mut callers = JoinSet::new();
        for _ in 0..5 {
            let pool = pool.clone();
            callers.spawn(async move { (pool.acquire().await.map(drop), Instant::now()) });
        }
        let all_wait = async {
            while pool.status().waiters < 5 {
                tokio::task::yield_now().await;
            }
        };
        within(all_wait).await;
        Self {
            waiting: callers,
            machine: Lateness::watch(),
        }
    }

    /// The error of each caller, and its time.
    async fn reported(self) -> Told {
        let reported = within(self.waiting.join_all()).await;
        let reported = reported
            .into_iter()
            .map(|(outcome, when)| (outcome.expect_err("nothing can be opened"), when))
            .collect();
        Told {
            reported,
            machine: self.machine,
        }
    }
}

struct Told {
    reported: Vec<(AcquireError, Instant)>,
    machine: Lateness,
}

impl Told {
    #[track_caller]
    fn assert_soon_after(&self, known: Instant) {
        for (_, when) in &self.reported {
            let late = when.saturating_duration_since(known);
            self.machine.assert_within(Duration::from_millis(100), late);
        }
    }
}

/// All five have the same cause, of this kind, within 100 ms of the moment in which the connector had it.
async fn all_learn(connector: impl Connector, kind: OpenErrorKind) -> Arc<OpenError> {
    let held = Arc::new(Held {
        connector,
        gate: Semaphore::new(0),
        failed: Mutex::default(),
    });
    let pool = pool_of(Arc::clone(&held), quiet());
    let callers = Callers::in_line(&pool).await;
    held.gate.add_permits(1);
    let reported = callers.reported().await;
    reported.assert_soon_after(held.failed.lock().unwrap());
    let mut causes = reported.reported.into_iter().map(|(error, _)| match error {
        AcquireError::Open { cause, .. } => cause,
        other => panic!("{other:?}"),
    });
    let cause = causes.next().unwrap();
    assert_eq!(cause.kind(), kind, "{cause}");
    assert!(causes.all(|other| Arc::ptr_eq(&other, &cause)));
    within(pool.close()).await;
    assert_eq!(assert_balanced(&pool).connections.total, 0);
    cause
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_does_not_start_or_exits_is_told_within_100_ms() {
    let missing = Stdio::new("no-such-command-anywhere");
    all_learn(missing, OpenErrorKind::CommandNotFound).await;
    let exits = shell("echo no licence >&2; exit 3");
    let cause = all_learn(exits, OpenErrorKind::ProcessExited).await;
    assert!(cause.to_string().contains("no licence"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_and_a_refused_connection_are_told_within_100_ms() {
    for (status, kind) in [
        (401, OpenErrorKind::Unauthorized),
        (404, OpenErrorKind::Http(404)),
        (500, OpenErrorKind::Http(500)),
    ] {
        let server = HttpServer::start(HttpOptions {
            status: Some(status),
            ..HttpOptions::default()
        })
        .await;
        all_learn(Http::new(server.url()).unwrap(), kind).await;
    }
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = Http::new(format!("http://{unused}/mcp")).unwrap();
    all_learn(refused, OpenErrorKind::Unreachable).await;
}

/// A plain timer of the same length, begun when the opening began, says when it can be known: it is as late as the
/// machine is busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_hangs_in_the_handshake_is_told_within_100_ms_of_connection_timeout() {
    const LIMIT: Duration = Duration::from_millis(600);
    let marker = marker();
    let arguments = ["--marker", &marker, "--stderr", "waiting for a licence"];
    let pool = pool_of(
        server("--hang-before-handshake").args(arguments),
        quiet_with(|options| options.connection_timeout = LIMIT),
    );
    let began = Instant::now();
    let callers = Callers::in_line(&pool).await;
    let limit = tokio::spawn(async {
        tokio::time::sleep(LIMIT).await;
        Instant::now()
    });
    // A caller that comes while the opening is under way has its own limit: the server may be ready by then.
    tokio::time::sleep(LIMIT / 3).await;
    assert!(!process::by_marker(&marker).is_empty(), "it never started");
    let late = acquire_apart(&pool);
    let reported = callers.reported().await;
    reported.assert_soon_after(limit.await.unwrap());
    let late = (within(late).await.unwrap().unwrap_err(), Instant::now());
    for (error, when) in reported.reported.into_iter().chain([late]) {
        assert!(when.duration_since(began) > LIMIT * 9 / 10, "{error:?}");
        let AcquireError::Timeout {
            phase,
            cause: Some(cause),
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(phase, Phase::Handshake);
        assert_eq!(cause.kind(), OpenErrorKind::Timeout, "{cause}");
        for what in ["connection_timeout", "stderr: waiting for a licence"] {
            assert!(cause.to_string().contains(what), "{cause}");
        }
    }
    common::servers::assert_all_gone(&marker, Duration::from_secs(5)).await;
    within(pool.close()).await;
}

#[cfg(feature = "tls")]
mod tls {
    use mcp_pool_core::connect::http::Http;
    use tokio::net::TcpListener;
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivatePkcs8KeyDer},
    };

    use super::*;

    /// A listener with a self-signed certificate.
    async fn self_signed() -> String {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/mcp", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        url
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_certificate_that_is_not_trusted_is_told_within_100_ms() {
        let untrusted = Http::new(self_signed().await).unwrap();
        let cause = all_learn(untrusted, OpenErrorKind::Tls).await;
        assert!(cause.to_string().contains("certificate"), "{cause}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_without_tls_is_told_within_100_ms() {
        let plain = HttpServer::start(HttpOptions::default()).await;
        let secure = Http::new(plain.url().replace("http://", "https://")).unwrap();
        let cause = all_learn(secure, OpenErrorKind::Tls).await;
        assert!(
            cause.to_string().starts_with("no secure connection"),
            "{cause}"
        );
    }
}
