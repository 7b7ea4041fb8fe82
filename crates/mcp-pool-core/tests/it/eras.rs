//! Eras: detected once, remembered, and detected again when the server has changed.

use crate::common;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use common::{
    acquire_apart, assert_balanced, at_rest, echo, observed, opened, over_pipe, quiet_with,
};
use mcp_pool_core::{
    AcquireError, Connected, Connector, EraMemory, Handshake, LifecycleMode, OpenError,
    OpenErrorKind, PoolOptions, SessionHandler, SessionPool, SharingMode, connect::BoxFuture,
};
use mcp_testkit::{Era, Options, TestServer};

/// A server that may be exchanged for one of the other era.
#[derive(Clone)]
struct Exchangeable {
    legacy: TestServer,
    modern: TestServer,
    is_modern: Arc<AtomicBool>,
}

impl Exchangeable {
    fn new(modern: bool) -> Self {
        let of_era = |era| {
            TestServer::with_options(Options {
                era,
                ..Options::default()
            })
        };
        Self {
            legacy: of_era(Era::Legacy),
            modern: of_era(Era::Modern),
            is_modern: Arc::new(AtomicBool::new(modern)),
        }
    }

    fn exchange(&self) {
        self.is_modern.fetch_xor(true, Ordering::Relaxed);
    }

    fn server(&self) -> &TestServer {
        match self.is_modern.load(Ordering::Relaxed) {
            true => &self.modern,
            false => &self.legacy,
        }
    }

    /// Requests of either kind of opening that have reached the server, refused ones included.
    fn openings(&self) -> (u64, u64) {
        let server = self.server();
        (
            server.requests_of("server/discover"),
            server.requests_of("initialize"),
        )
    }
}

impl Connector for Exchangeable {
    fn connect<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> BoxFuture<'a, Result<Connected, OpenError>> {
        Box::pin(over_pipe(self.server().connect(), handshake))
    }
}

fn five_sessions() -> PoolOptions {
    quiet_with(|options| {
        options.sharing = SharingMode::Exclusive;
        options.max_connections = 5;
    })
}

async fn open(pool: &SessionPool, sessions: usize) {
    let mut held = Vec::new();
    for _ in 0..sessions {
        let lease = pool.acquire().await.unwrap();
        assert_eq!(echo(&lease).await, "hello");
        held.push(lease);
    }
}

#[tokio::test(start_paused = true)]
async fn a_modern_server_is_found_by_the_first_question() {
    let server = Exchangeable::new(true);
    let (pool, _) = observed(server.clone(), five_sessions());
    open(&pool, 5).await;
    assert_eq!(server.openings(), (5, 0));
    assert!(
        pool.sessions()
            .iter()
            .all(|s| s.era() == mcp_pool_core::Era::Modern)
    );
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_legacy_server_is_asked_the_wrong_question_only_once() {
    let server = Exchangeable::new(false);
    let (pool, _) = observed(server.clone(), five_sessions());
    open(&pool, 5).await;
    assert_eq!(server.openings(), (1, 5));
    assert!(
        pool.sessions()
            .iter()
            .all(|s| s.era() == mcp_pool_core::Era::Legacy)
    );
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn pools_of_one_server_may_share_what_they_know() {
    let server = Exchangeable::new(false);
    let memory = EraMemory::default();
    for _ in 0..3 {
        let handshake = Handshake::new(
            LifecycleMode::Auto,
            memory.clone(),
            SessionHandler::default(),
        );
        let pool = SessionPool::builder("server", server.clone())
            .handshake(handshake)
            .options(five_sessions())
            .build()
            .unwrap();
        open(&pool, 1).await;
        pool.close().await;
    }
    assert_eq!(server.openings(), (1, 3));
    assert_eq!(memory.get(), Some(mcp_pool_core::Era::Legacy));
}

#[tokio::test(start_paused = true)]
async fn a_server_exchanged_for_one_of_the_other_era_works_again() {
    for modern in [true, false] {
        let server = Exchangeable::new(modern);
        let (pool, events) = observed(server.clone(), {
            let mut options = five_sessions();
            options.retry_attempts = 3;
            options
        });
        open(&pool, 2).await;
        server.exchange();
        pool.drain().await;
        open(&pool, 2).await;
        assert_eq!(events.count(opened), 4);
        let sessions = pool.sessions();
        assert!(
            sessions
                .iter()
                .all(|session| (session.era() == mcp_pool_core::Era::Modern) != modern)
        );
        assert_balanced(&pool);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_of_the_other_era_than_demanded_is_refused_with_a_reason() {
    for (mode, modern) in [
        (LifecycleMode::Initialize, true),
        (LifecycleMode::Discover, false),
    ] {
        let server = Exchangeable::new(modern);
        let handshake = Handshake::new(mode, EraMemory::default(), SessionHandler::default());
        let pool = SessionPool::builder("server", server.clone())
            .handshake(handshake)
            .options(five_sessions())
            .build()
            .unwrap();
        let AcquireError::Open { cause, .. } = pool.acquire().await.unwrap_err() else {
            panic!("not a failed opening");
        };
        let expected = [OpenErrorKind::NoCommonVersion, OpenErrorKind::Incompatible];
        assert!(expected.contains(&cause.kind()), "{cause:?}");
        assert!(!cause.to_string().is_empty());
        at_rest().await;
        assert_eq!(assert_balanced(&pool).connections.total, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_era_is_forgotten_when_an_opening_is_given_up() {
    let memory = EraMemory::default();
    let handshake = Handshake::new(
        LifecycleMode::Auto,
        memory.clone(),
        SessionHandler::default(),
    );
    let server = TestServer::new();
    let connector = common::Scripted::new(&server, |_| common::Step::Open);
    drop(connector.connect(&handshake).await.unwrap());
    assert!(memory.get().is_some());

    let silent = TestServer::with_faults(mcp_testkit::Faults {
        hang: Some(mcp_testkit::Hang::BeforeHandshake),
        ..Default::default()
    });
    let connector = common::Scripted::new(&silent, |_| common::Step::Open);
    let opening = connector.connect(&handshake);
    assert!(
        tokio::time::timeout(std::time::Duration::from_secs(60), opening)
            .await
            .is_err()
    );
    assert_eq!(memory.get(), None);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_open_together_go_by_what_is_known() {
    let server = Exchangeable::new(false);
    let options = quiet_with(|options| {
        options.sharing = SharingMode::Exclusive;
        options.max_connections = 5;
        options.max_connecting = 5;
    });
    let (pool, _) = observed(server.clone(), options);
    open(&pool, 1).await;
    let before = server.openings();
    let leases: Vec<_> = (0..5).map(|_| acquire_apart(&pool)).collect();
    let mut held = Vec::new();
    for lease in leases {
        held.push(lease.await.unwrap().unwrap());
    }
    assert_eq!(server.openings(), (before.0, before.1 + 4));
}
