//! A call that ran out of time makes its own session suspect, and no other.

use crate::common;
use std::{sync::Arc, time::Duration};

use common::{
    acquire_apart, assert_balanced, at_rest, call, echo, observed, options, pool_of, quiet_with,
    text,
};
use mcp_pool_core::{
    CloseReason, Connector, Deadline, EraMemory, Handshake, Lease, LifecycleMode, PoolEvent,
    PoolOptions, SessionHandler, SessionId, SessionPool, SharingMode, client_info,
    connect::in_process::InProcess,
    rmcp::{
        ErrorData, RoleServer, ServerHandler,
        model::{
            CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
            PaginatedRequestParams,
        },
        service::RequestContext,
    },
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

/// Answers a probe when the test says so; `hang` never answers, anything else at once.
#[derive(Clone)]
struct Moody {
    probes: Arc<Semaphore>,
    /// Its answer to a probe is an error.
    rude: bool,
}

impl Moody {
    fn new(probes: usize) -> (Self, impl Connector) {
        Self::of_mood(probes, false)
    }

    fn of_mood(probes: usize, rude: bool) -> (Self, impl Connector) {
        let server = Self {
            probes: Arc::new(Semaphore::new(probes)),
            rude,
        };
        let connector = {
            let server = server.clone();
            InProcess::new(move || server.clone())
        };
        (server, connector)
    }

    fn answer_a_probe(&self) {
        self.probes.add_permits(1);
    }

    async fn answer(&self) -> Result<(), ErrorData> {
        self.probes.acquire().await.expect("never closed").forget();
        if self.rude {
            return Err(ErrorData::internal_error("not now", None));
        }
        Ok(())
    }
}

impl ServerHandler for Moody {
    async fn ping(&self, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.answer().await
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.answer().await?;
        Ok(ListToolsResult::default())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match &*request.name {
            "hang" => std::future::pending().await,
            "sleep" => sleep(Duration::from_secs(3)).await,
            _ => {}
        }
        Ok(CallToolResult::success(vec![ContentBlock::text("hello")]).into())
    }
}

fn one_session() -> PoolOptions {
    quiet_with(|options| {
        options.max_connections = 1;
        options.connection_timeout = Duration::from_secs(60);
        options.probe_timeout = Duration::from_secs(5);
    })
}

/// Makes a call that runs out of time, as a caller of the pool would.
async fn time_out(lease: &Lease) {
    let limit = Duration::from_secs(1);
    let guard = lease.begin_call(Some(Instant::now() + limit));
    assert!(
        timeout(limit, call(lease, "hang", json!({})))
            .await
            .is_err()
    );
    drop(guard);
}

/// Makes the session of a pool suspect.
async fn suspect(pool: &SessionPool) -> SessionId {
    let lease = pool.acquire().await.unwrap();
    time_out(&lease).await;
    lease.id()
}

fn suspected(event: &PoolEvent) -> bool {
    matches!(event, PoolEvent::Suspect { .. })
}

fn probed(event: &PoolEvent) -> bool {
    matches!(event, PoolEvent::Probed { .. })
}

#[tokio::test(start_paused = true)]
async fn pain_03_a_session_on_which_a_call_ran_out_of_time_is_leased_again_after_it_has_answered() {
    let (server, connector) = Moody::new(0);
    let (pool, events) = observed(connector, one_session());
    let id = suspect(&pool).await;
    assert_eq!(events.count(suspected), 1);

    let waiting = acquire_apart(&pool);
    sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished(), "leased without a sign of life");
    assert_eq!(pool.status().waiters, 1);

    server.answer_a_probe();
    at_rest().await;
    let lease = waiting.await.unwrap().unwrap();
    assert_eq!(lease.id(), id);
    assert_eq!(echo(&lease).await, "hello");
    drop(lease);
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn suspects_are_retired_on_request_and_the_others_stay() {
    let (_server, connector) = Moody::new(0);
    let pool = pool_of(connector, quiet_with(|options| options.max_in_flight = 1));
    let (doubtful, good) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let id = good.id();
    assert_ne!(doubtful.id(), id);
    time_out(&doubtful).await;
    drop((doubtful, good));

    assert_eq!(pool.evict_suspects(), 1);
    assert_eq!(pool.evict_suspects(), 0, "it is on its way");
    at_rest().await;
    let left: Vec<_> = pool.sessions().iter().map(|session| session.id()).collect();
    assert_eq!(left, [id]);
    let status = assert_balanced(&pool);
    assert_eq!(status.closed.get(&CloseReason::Evicted), Some(&1));
    assert_eq!(status.errors.get("probe"), None);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_session_that_stays_silent_is_retired_and_replaced() {
    let (_server, connector) = Moody::new(0);
    let (pool, events) = observed(connector, one_session());
    let id = suspect(&pool).await;

    let began = Instant::now();
    let lease = pool.acquire().await.unwrap();
    assert_ne!(lease.id(), id);
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(echo(&lease).await, "hello");
    drop(lease);
    assert_eq!(events.count(probed), 1);
    let status = assert_balanced(&pool);
    assert_eq!(status.closed.get(&CloseReason::ProbeFailed), Some(&1));
    assert_eq!(status.errors.get("probe"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_session_is_not_leased_while_it_has_a_probe_to_answer() {
    let (server, connector) = Moody::new(0);
    let mut options = one_session();
    options.sharing = SharingMode::Exclusive;
    options.health_check_interval = Duration::from_secs(60);
    options.probe_timeout = Duration::from_secs(30);
    let (pool, events) = observed(connector, options);
    let id = pool.acquire().await.unwrap().id();
    sleep(Duration::from_secs(61)).await;
    // The question is out: a call now would be the second on the session.
    let waiting = acquire_apart(&pool);
    sleep(Duration::from_secs(10)).await;
    assert!(!waiting.is_finished(), "leased under its probe");
    server.answer_a_probe();
    at_rest().await;
    let lease = waiting.await.unwrap().unwrap();
    assert_eq!((lease.id(), events.count(probed)), (id, 1));
    drop(lease);
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn another_session_serves_while_one_is_suspect() {
    let (_server, connector) = Moody::new(0);
    let pool = pool_of(connector, quiet_with(|options| options.scale_up_at = 1));
    let id = suspect(&pool).await;
    let began = Instant::now();
    let lease = pool.acquire().await.unwrap();
    assert_ne!(lease.id(), id);
    assert!(
        began.elapsed() < Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn calls_that_run_out_of_time_do_not_retire_a_session_that_answers_its_probes() {
    let (_server, connector) = Moody::new(100);
    let (pool, events) = observed(connector, one_session());
    for _ in 0..14 {
        let lease = pool.acquire().await.unwrap();
        time_out(&lease).await;
        drop(lease);
        at_rest().await;
    }
    assert_eq!(events.count(suspected), 14);
    let after_timeout = |event: &PoolEvent| {
        matches!(
            event,
            PoolEvent::Probed {
                alive: true,
                after_timeout: true,
                ..
            }
        )
    };
    assert_eq!(events.count(after_timeout), 14);
    let status = assert_balanced(&pool);
    assert_eq!((status.opened, status.closed.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_progress_keeps_alive_and_its_caller_cancels_casts_no_doubt() {
    let (_server, connector) = Moody::new(0);
    let (pool, events) = observed(connector, one_session());
    let lease = pool.acquire().await.unwrap();
    let due = Arc::new(Mutex::new(Instant::now() + Duration::from_secs(1)));
    let moving = Arc::clone(&due);
    let guard = lease.begin_call(Deadline::moving(move || *moving.lock()));
    for _ in 0..5 {
        sleep(Duration::from_millis(900)).await;
        *due.lock() = Instant::now() + Duration::from_secs(1);
    }
    drop(guard);
    assert_eq!(events.count(suspected), 0, "it was cancelled in time");
    let moving = Arc::clone(&due);
    let guard = lease.begin_call(Deadline::moving(move || *moving.lock()));
    sleep(Duration::from_secs(2)).await;
    drop(guard);
    assert_eq!(events.count(suspected), 1, "it ran out of time");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_casts_no_doubt() {
    let (_server, connector) = Moody::new(0);
    let (pool, events) = observed(connector, one_session());
    for _ in 0..5 {
        let lease = pool.acquire().await.unwrap();
        let guard = lease.begin_call(Some(Instant::now() + Duration::from_secs(60)));
        let hanging = call(&lease, "hang", json!({}));
        assert!(timeout(Duration::from_secs(1), hanging).await.is_err());
        drop(guard);
        drop(lease);
    }
    let began = Instant::now();
    drop(pool.acquire().await.unwrap());
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!((events.count(suspected), events.count(probed)), (0, 0));
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn the_neighbours_of_a_call_that_ran_out_of_time_are_not_disturbed() {
    for probes in [0, 100] {
        let (_server, connector) = Moody::new(probes);
        let pool = pool_of(connector, one_session());
        let slow = pool.acquire().await.unwrap();
        let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        assert_eq!((first.id(), second.id()), (slow.id(), slow.id()));
        let neighbours = [first, second].map(|lease| {
            tokio::spawn(async move { text(&call(&lease, "sleep", json!({})).await.unwrap()) })
        });
        // Where no probe is answered the session is to go, but not under its neighbours.
        time_out(&slow).await;
        time_out(&slow).await;
        drop(slow);
        for neighbour in neighbours {
            assert_eq!(neighbour.await.unwrap(), "hello");
        }
        at_rest().await;
        assert_balanced(&pool);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_on_request_reports_and_retires() {
    let (server, connector) = Moody::new(1);
    let pool = pool_of(connector, options(|options| options.min_connections = 0));
    let report = pool.probe().await.unwrap();
    assert!(report.alive);
    assert_eq!(pool.sessions()[0].id(), report.session);
    let report = pool.probe().await.unwrap();
    assert!(
        !report.alive && report.took == Duration::from_secs(5),
        "{report:?}"
    );
    at_rest().await;
    assert_eq!(assert_balanced(&pool).connections.total, 0);
    // The first one goes to the question that is still open at the old session's server.
    server.answer_a_probe();
    server.answer_a_probe();
    assert!(pool.probe().await.unwrap().alive, "a fresh session answers");
}

#[tokio::test(start_paused = true)]
async fn pain_14_an_error_in_answer_to_a_probe_is_a_sign_of_life() {
    for mode in [LifecycleMode::Initialize, LifecycleMode::Discover] {
        let (_server, connector) = Moody::of_mood(100, true);
        let handler = SessionHandler::new(client_info());
        let pool = SessionPool::builder("server", connector)
            .options(one_session())
            .handshake(Handshake::new(mode, EraMemory::default(), handler))
            .build()
            .unwrap();
        for _ in 0..3 {
            assert!(pool.probe().await.unwrap().alive, "{mode:?}");
        }
        // Nor does it keep a session in doubt.
        let lease = pool.acquire().await.unwrap();
        time_out(&lease).await;
        drop(lease);
        drop(pool.acquire().await.unwrap());
        let status = assert_balanced(&pool);
        assert_eq!((status.opened, status.closed.len()), (1, 0), "{mode:?}");
    }
}
