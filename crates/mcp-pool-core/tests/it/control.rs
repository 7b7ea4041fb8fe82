//! Operator actions on a pool in use: no call may notice.

use crate::common;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{
    Scripted, Step, acquire_apart, assert_balanced, at_rest, call, closed, echo, observed, opened,
    options, pool_of, pool_on, quiet, quiet_with, within,
};
use mcp_pool_core::{AcquireError, CloseReason, PoolEvent, SessionPool, SessionState, SharingMode};
use mcp_testkit::TestServer;
use serde_json::json;
use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

/// Callers that make one call after another, none of which may fail.
struct Load {
    tasks: JoinSet<()>,
    over: CancellationToken,
    calls: Arc<AtomicU64>,
}

impl Load {
    fn on(pool: &SessionPool, callers: usize) -> Self {
        let (mut tasks, over) = (JoinSet::new(), CancellationToken::new());
        let calls = Arc::new(AtomicU64::new(0));
        for number in 0..callers {
            let (pool, over, calls) = (pool.clone(), over.clone(), Arc::clone(&calls));
            tasks.spawn(async move {
                while !over.is_cancelled() {
                    let lease = pool.acquire().await.expect("a session");
                    let ms = 5 + number % 17;
                    let answer = call(&lease, "sleep", json!({"ms": ms})).await;
                    answer.expect("an answer");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { tasks, over, calls }
    }

    async fn goes_on(&self) {
        let before = self.calls.load(Ordering::Relaxed);
        sleep(Duration::from_millis(400)).await;
        assert!(self.calls.load(Ordering::Relaxed) > before + 10);
    }

    async fn end(mut self) {
        self.over.cancel();
        while let Some(caller) = within(self.tasks.join_next()).await {
            caller.expect("no call failed");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspended_pool_makes_callers_wait_and_disturbs_no_lease() {
    let pool = pool_on(
        &TestServer::new(),
        quiet_with(|options| options.connection_timeout = Duration::from_secs(5)),
    );
    let held = pool.acquire().await.unwrap();
    pool.suspend();
    assert!(pool.status().suspended);
    let waiting: Vec<_> = (0..3).map(|_| acquire_apart(&pool)).collect();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pool.status().waiters, 3);
    assert_eq!(echo(&held).await, "hello");
    pool.resume();
    for caller in waiting {
        drop(within(caller).await.unwrap().unwrap());
    }
    assert!(!pool.status().suspended);

    pool.suspend();
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::Timeout { .. }), "{error:?}");
    drop(held);
    pool.resume();
    drop(within(pool.acquire()).await.unwrap());
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_pool_opens_nothing() {
    let connector = Scripted::always(Step::Open);
    let pool = pool_of(connector.clone(), options(|_| {}));
    pool.suspend();
    let waiting = acquire_apart(&pool);
    pool.warm_up();
    at_rest().await;
    assert_eq!(connector.begun(), 0);
    pool.resume();
    drop(within(waiting).await.unwrap().unwrap());
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_session_closes_when_its_leases_are_back() {
    let (pool, events) = observed(Scripted::always(Step::Open), quiet());
    let lease = pool.acquire().await.unwrap();
    let id = lease.id();
    assert!(pool.evict(id));
    at_rest().await;
    assert_eq!(events.count(closed), 0);
    assert_eq!(echo(&lease).await, "hello");
    let other = pool.acquire().await.unwrap();
    assert_ne!(other.id(), id);
    drop(lease);
    at_rest().await;
    assert_eq!(pool.status().closed.get(&CloseReason::Evicted), Some(&1));
    assert!(!pool.evict(id), "it is gone");
    drop(other);
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_session_can_be_asked_to_end_through_its_lifecycle() {
    let pool = pool_on(&TestServer::new(), quiet());
    let lease = pool.acquire().await.unwrap();
    let lifecycle = lease.lifecycle().clone();
    lifecycle.request_shutdown();
    at_rest().await;
    assert_eq!(echo(&lease).await, "hello");
    assert_eq!(lifecycle.state(), SessionState::Ready);
    drop(lease);
    at_rest().await;
    assert_eq!(lifecycle.state(), SessionState::Shutdown);
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test(start_paused = true)]
async fn draining_under_load_replaces_every_session_and_fails_no_call() {
    for sharing in [SharingMode::Multiplexed, SharingMode::Exclusive] {
        let pool = pool_on(
            &TestServer::new(),
            options(|options| {
                options.max_connections = 4;
                options.sharing = sharing;
            }),
        );
        let load = Load::on(&pool, 20);
        load.goes_on().await;
        for _ in 0..5 {
            let before: Vec<_> = pool.sessions().iter().map(|session| session.id()).collect();
            within(pool.drain()).await;
            load.goes_on().await;
            let after = pool.sessions();
            assert!(after.iter().all(|session| !before.contains(&session.id())));
        }
        load.end().await;
        at_rest().await;
        let status = assert_balanced(&pool);
        assert!(status.closed[&CloseReason::Drained] >= 10, "{status:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn settings_change_under_load_without_failing_a_call() {
    let pool = pool_on(
        &TestServer::new(),
        quiet_with(|options| options.max_connections = 1),
    );
    let load = Load::on(&pool, 40);
    load.goes_on().await;
    for (max_connections, max_in_flight) in [(6, 16), (6, 1), (2, 1), (2, 40), (1, 1), (10, 4)] {
        pool.configure(quiet_with(|options| {
            options.max_connections = max_connections;
            options.max_in_flight = max_in_flight;
            options.scale_up_at = max_in_flight.min(8);
        }))
        .unwrap();
        load.goes_on().await;
        let status = pool.status();
        let case = format!("{max_connections} x {max_in_flight}: {status:#?}");
        assert!(status.connections.total <= max_connections, "{case}");
        assert!(
            status.sessions.iter().all(|s| s.in_flight <= max_in_flight),
            "{case}"
        );
        assert_eq!(status.capacity, max_connections * max_in_flight);
    }
    // Ten times four is what forty callers ask for.
    assert_eq!(pool.status().connections.total, 10);
    load.end().await;
    at_rest().await;
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn settings_that_contradict_themselves_change_nothing() {
    let pool = pool_on(&TestServer::new(), quiet());
    let wrong = quiet_with(|options| options.max_connections = 0);
    assert!(pool.configure(wrong).is_err());
    assert_eq!(pool.options().max_connections, 10);
    drop(pool.acquire().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_smaller_maximum_closes_the_surplus_as_it_comes_to_rest() {
    let pool = pool_on(
        &TestServer::new(),
        quiet_with(|options| options.sharing = SharingMode::Exclusive),
    );
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(pool.acquire().await.unwrap());
    }
    held.truncate(3);
    at_rest().await;
    let smaller = quiet_with(|options| {
        options.sharing = SharingMode::Exclusive;
        options.max_connections = 2;
    });
    pool.configure(smaller).unwrap();
    at_rest().await;
    assert_eq!(
        pool.status().connections.total,
        3,
        "the idle ones went first"
    );
    for lease in &held {
        assert_eq!(echo(lease).await, "hello");
    }
    held.clear();
    at_rest().await;
    let status = assert_balanced(&pool);
    assert_eq!(status.connections.idle, 2);
    assert_eq!(status.closed.get(&CloseReason::Shrunk), Some(&4));
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_session_shows_from_its_beginning_to_its_end() {
    let connector = Scripted::always(Step::Gated);
    let (pool, events) = observed(connector.clone(), quiet());
    let waiting = acquire_apart(&pool);
    connector.wait_begun(1).await;
    sleep(Duration::from_secs(2)).await;
    let status = pool.status();
    assert_eq!(status.connections.connecting, 1);
    assert_eq!(status.sessions.len(), 1);
    let session = &status.sessions[0];
    assert_eq!(
        (session.state, session.era),
        (SessionState::Initializing, None)
    );
    assert!(session.age >= Duration::from_secs(2));

    connector.let_through(1);
    let lease = within(waiting).await.unwrap().unwrap();
    assert_eq!(lease.id(), session.id, "the same session all along");
    let lifecycle = lease.lifecycle().clone();
    assert!(lifecycle.wait_ready().await);
    let mut states = lifecycle.subscribe();
    assert_eq!(*states.borrow_and_update(), SessionState::Ready);
    drop(lease);
    within(pool.close()).await;
    let ended = within(states.wait_for(|state| *state == SessionState::Shutdown));
    assert!(ended.await.is_ok());

    let story: Vec<_> = events
        .all()
        .into_iter()
        .map(|event| match event {
            PoolEvent::Opening { .. } => "opening",
            PoolEvent::Opened { .. } => "opened",
            PoolEvent::Acquired { .. } => "acquired",
            PoolEvent::Closed {
                reason: CloseReason::Shutdown,
                ..
            } => "closed",
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: &[&[&str]] = &[
        &["opening", "opened", "acquired", "closed"],
        &["opening", "acquired", "opened", "closed"],
    ];
    assert!(expected.contains(&&story[..]), "{story:?}");
}

#[tokio::test(start_paused = true)]
async fn the_status_is_sent_under_the_names_it_is_documented_with() {
    let (pool, events) = observed(Scripted::always(Step::Open), options(|_| {}));
    pool.warm_up();
    let lease = pool.acquire().await.unwrap();
    events.wait_for(2, opened).await;
    let status = serde_json::to_value(pool.status()).unwrap();
    for key in [
        "server_name",
        "sharing",
        "connections",
        "in_flight",
        "capacity",
        "waiters",
        "longest_wait_seconds",
        "pool_hits",
        "pool_misses",
        "refused",
        "opened",
        "closed",
        "errors",
        "reinitialized",
        "last_error",
        "retry_after_seconds",
        "suspended",
        "closed_for_good",
        "sessions",
    ] {
        assert!(
            status.get(key).is_some(),
            "{key} is missing from {status:#}"
        );
    }
    assert_eq!(
        status["connections"],
        json!({"idle": 1, "active": 1, "connecting": 0, "closing": 0, "total": 2, "min": 2, "max": 10})
    );
    assert_eq!(
        (&status["sharing"], &status["in_flight"]),
        (&json!("multiplexed"), &json!(1))
    );
    let session = &status["sessions"][0];
    for key in [
        "id",
        "state",
        "era",
        "age_seconds",
        "idle_seconds",
        "in_flight",
        "calls",
        "pid",
        "noise_lines",
    ] {
        assert!(
            session.get(key).is_some(),
            "{key} is missing from {session:#}"
        );
    }
    assert_eq!(
        (&session["state"], &session["era"]),
        (&json!("ready"), &json!("modern"))
    );
    drop(lease);
    within(pool.close()).await;
    let status = serde_json::to_value(pool.status()).unwrap();
    assert_eq!(status["closed"], json!({"shutdown": 2}));
    assert_eq!(status["closed_for_good"], true);
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_may_be_closed_again_and_takes_no_orders() {
    let pool = pool_on(&TestServer::new(), options(|_| {}));
    drop(pool.acquire().await.unwrap());
    within(async { tokio::join!(pool.close(), pool.close()) }).await;
    within(pool.close()).await;
    pool.warm_up();
    pool.suspend();
    pool.resume();
    within(pool.drain()).await;
    at_rest().await;
    assert!(matches!(pool.acquire().await, Err(AcquireError::Closed)));
    assert!(matches!(pool.pin().await, Err(AcquireError::Closed)));
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test]
async fn a_smaller_maximum_closes_what_was_being_opened_above_it() {
    let connector = Scripted::always(Step::Gated);
    let five = quiet_with(|options| {
        options.max_connections = 5;
        options.max_connecting = 5;
        options.sharing = SharingMode::Exclusive;
    });
    let (pool, events) = observed(connector.clone(), five.clone());
    let callers: Vec<_> = (0..5).map(|_| acquire_apart(&pool)).collect();
    connector.wait_begun(5).await;
    let mut one = five;
    one.max_connections = 1;
    pool.configure(one).unwrap();
    connector.let_through(5);
    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    events.wait_for(4, closed).await;
    assert_eq!(assert_balanced(&pool).connections.total, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_winds_down_turns_those_in_line_away_and_leaves_those_it_serves_their_time() {
    let pool = pool_on(
        &TestServer::new(),
        quiet_with(|options| {
            options.max_connections = 1;
            options.sharing = SharingMode::Exclusive;
            options.shutdown_grace = Duration::from_secs(1);
        }),
    );
    let held = pool.acquire().await.unwrap();
    let in_line = acquire_apart(&pool);
    at_rest().await;
    let winding_down = tokio::spawn({
        let pool = pool.clone();
        async move { pool.wind_down().await }
    });
    let turned_away = within(in_line).await.unwrap().unwrap_err();
    assert!(matches!(turned_away, AcquireError::Closed));
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(echo(&held).await, "hello", "long after the grace period");
    assert!(!winding_down.is_finished());
    drop(held);
    within(winding_down).await.unwrap();
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_winds_down_can_be_closed_in_a_hurry() {
    let grace = Duration::from_secs(1);
    let pool = pool_on(
        &TestServer::new(),
        quiet_with(|options| options.shutdown_grace = grace),
    );
    let held = pool.acquire().await.unwrap();
    let winding_down = tokio::spawn({
        let pool = pool.clone();
        async move { pool.wind_down().await }
    });
    sleep(Duration::from_secs(60)).await;
    let began = tokio::time::Instant::now();
    within(pool.close()).await;
    within(winding_down).await.unwrap();
    assert!((grace..grace * 3).contains(&began.elapsed()));
    assert_eq!(pool.status().connections.total, 0);
    drop(held);
}
