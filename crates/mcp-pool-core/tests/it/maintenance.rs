//! Periodic maintenance of unused sessions, over hours of virtual time.

use crate::common;
use std::time::Duration;

use common::{
    Scripted, Step, assert_balanced, at_rest, closed, echo, observed, opened, options, pool_of,
    pool_on, quiet_with,
};
use mcp_pool_core::{CloseReason, PoolEvent, SessionPool, SharingMode};
use mcp_testkit::{Era, Faults, Hang, Options, TestServer};
use tokio::time::sleep;

const HOUR: Duration = Duration::from_secs(3600);

/// Opens so many sessions, and leaves them idle.
async fn open(pool: &SessionPool, sessions: usize) {
    let mut held = Vec::new();
    for _ in 0..sessions {
        held.push(pool.acquire().await.unwrap());
    }
    drop(held);
    at_rest().await;
    assert_eq!(pool.status().connections.idle as usize, sessions);
}

fn of_era(era: Era) -> TestServer {
    TestServer::with_options(Options {
        era,
        ..Options::default()
    })
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_above_the_minimum_go_after_max_idle_time_and_those_below_stay() {
    let pool = pool_on(
        &TestServer::new(),
        options(|options| {
            options.min_connections = 2;
            options.max_idle_time = Duration::from_secs(300);
            options.max_session_age = HOUR * 100;
            options.sharing = SharingMode::Exclusive;
        }),
    );
    open(&pool, 5).await;
    sleep(Duration::from_secs(298)).await;
    assert_eq!(pool.status().connections.idle, 5);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(pool.status().connections.idle, 2);
    sleep(HOUR * 24).await;
    let status = assert_balanced(&pool);
    assert_eq!((status.connections.idle, status.opened), (2, 5));
    assert_eq!(status.closed.get(&CloseReason::Idle), Some(&3));
    assert_eq!(status.closed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_refilling_is_paused_sessions_are_opened_for_callers_alone() {
    let connector = Scripted::always(Step::Open);
    let pool = pool_of(
        connector.clone(),
        options(|options| {
            options.min_connections = 3;
            options.max_session_age = HOUR * 100;
        }),
    );
    pool.warm_up();
    drop(pool.acquire().await.unwrap());
    at_rest().await;
    assert_eq!(pool.status().connections.idle, 3);

    pool.pause_refill();
    pool.evict_all();
    sleep(HOUR).await;
    assert_eq!((connector.begun(), pool.status().connections.total), (3, 0));
    drop(pool.acquire().await.unwrap());
    sleep(HOUR).await;
    assert_eq!((connector.begun(), pool.status().connections.idle), (4, 1));

    pool.resume_refill();
    at_rest().await;
    assert_eq!((connector.begun(), pool.status().connections.idle), (6, 3));
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_session_in_use_is_not_idle() {
    let pool = pool_on(
        &TestServer::new(),
        quiet_with(|options| options.max_idle_time = Duration::from_secs(10)),
    );
    let lease = pool.acquire().await.unwrap();
    sleep(Duration::from_secs(1_000)).await;
    assert_eq!(echo(&lease).await, "hello");
    drop(lease);
    sleep(Duration::from_secs(9)).await;
    assert_eq!(
        pool.status().connections.idle,
        1,
        "the time runs from the last use"
    );
    sleep(Duration::from_secs(2)).await;
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test(start_paused = true)]
async fn sessions_retire_within_the_last_tenth_of_their_age_and_are_replaced() {
    let (pool, events) = observed(
        Scripted::always(Step::Open),
        options(|options| {
            options.min_connections = 20;
            options.max_connections = 20;
            options.max_session_age = HOUR;
        }),
    );
    pool.warm_up();
    events.wait_for(20, opened).await;
    sleep(HOUR.mul_f64(0.899)).await;
    assert_eq!(events.count(closed), 0);
    sleep(HOUR.mul_f64(0.102)).await;
    let mut ages = Vec::new();
    for event in events.all() {
        if let PoolEvent::Closed { reason, age, .. } = event {
            assert_eq!(reason, CloseReason::Age);
            assert!(
                (HOUR.mul_f64(0.9)..=HOUR + Duration::from_millis(50)).contains(&age),
                "{age:?}"
            );
            ages.push(age);
        }
    }
    assert_eq!(ages.len(), 20);
    ages.sort();
    assert!(
        ages[19] - ages[0] > Duration::from_secs(60),
        "not all at once: {ages:?}"
    );
    let status = assert_balanced(&pool);
    assert_eq!((status.connections.idle, status.opened), (20, 40));
}

#[tokio::test(start_paused = true)]
async fn an_old_session_finishes_the_call_it_serves() {
    let (pool, _) = observed(
        Scripted::always(Step::Open),
        quiet_with(|options| options.max_session_age = Duration::from_secs(100)),
    );
    let lease = pool.acquire().await.unwrap();
    sleep(Duration::from_secs(500)).await;
    assert_eq!(echo(&lease).await, "hello");
    let fresh = pool.acquire().await.unwrap();
    assert_ne!(fresh.id(), lease.id(), "but it is not leased again");
    drop((lease, fresh));
    at_rest().await;
    assert_eq!(assert_balanced(&pool).connections.idle, 1);
}

#[tokio::test(start_paused = true)]
async fn pain_22_an_idle_session_is_asked_for_a_sign_of_life_in_either_era() {
    let eras = [Era::Legacy, Era::Modern];
    let modes = [SharingMode::Multiplexed, SharingMode::Exclusive];
    for (era, sharing) in eras
        .into_iter()
        .flat_map(|era| modes.map(|mode| (era, mode)))
    {
        let server = of_era(era);
        let pool = pool_on(
            &server,
            options(|options| {
                options.sharing = sharing;
                options.min_connections = 1;
                options.health_check_interval = Duration::from_secs(60);
                options.max_session_age = HOUR * 100;
            }),
        );
        drop(pool.acquire().await.unwrap());
        at_rest().await;
        let probes = || match era {
            Era::Legacy => server.pings(),
            _ => server.requests_of("tools/list"),
        };
        assert_eq!(probes(), 0);
        sleep(Duration::from_secs(59)).await;
        assert_eq!(probes(), 0, "{era}");
        sleep(Duration::from_secs(2)).await;
        assert_eq!(probes(), 1, "{era}");
        sleep(HOUR).await;
        assert!(
            (58..=61).contains(&probes()),
            "{era} {sharing:?}: {}",
            probes()
        );
        assert_eq!(
            server.requests_of("server/discover") + server.requests_of("initialize"),
            { if era == Era::Legacy { 2 } else { 1 } }
        );
        assert_eq!(assert_balanced(&pool).opened, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_answers_calls_needs_no_probe() {
    let server = of_era(Era::Legacy);
    let pool = pool_on(&server, quiet_with(|_| {}));
    for _ in 0..100 {
        let lease = pool.acquire().await.unwrap();
        let guard = lease.begin_call(None);
        assert_eq!(echo(&lease).await, "hello");
        guard.answered();
        drop(lease);
        sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(server.pings(), 0);
}

#[tokio::test(start_paused = true)]
async fn pain_14_an_idle_session_that_does_not_answer_is_replaced() {
    for era in [Era::Legacy, Era::Modern] {
        let server = TestServer::with_options(Options {
            era,
            faults: Faults {
                hang: Some(Hang::AfterHandshake),
                ..Faults::default()
            },
            ..Options::default()
        });
        let (pool, events) = observed(
            Scripted::new(&server, |_| Step::Open),
            options(|options| {
                options.min_connections = 1;
                options.health_check_interval = Duration::from_secs(60);
                options.probe_timeout = Duration::from_secs(5);
            }),
        );
        pool.warm_up();
        drop(pool.acquire().await.unwrap());
        sleep(Duration::from_secs(64)).await;
        assert_eq!(events.count(closed), 0);
        sleep(Duration::from_secs(4)).await;
        let status = assert_balanced(&pool);
        assert_eq!(
            status.closed.get(&CloseReason::ProbeFailed),
            Some(&1),
            "{era} {status:#?}"
        );
        assert_eq!(status.errors.get("probe"), Some(&1));
        assert_eq!(status.connections.idle, 1, "replaced");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_never_used_does_nothing_in_a_day() {
    let connector = Scripted::always(Step::Open);
    let (pool, events) = observed(connector.clone(), options(|_| {}));
    sleep(HOUR * 24).await;
    assert_eq!(connector.begun(), 0);
    assert!(events.all().is_empty());
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pool_at_its_minimum_opens_and_closes_nothing_in_a_day() {
    let (pool, events) = observed(
        Scripted::always(Step::Open),
        options(|options| {
            options.min_connections = 3;
            options.max_session_age = HOUR * 48;
            options.max_idle_time = Duration::from_secs(5);
        }),
    );
    pool.warm_up();
    drop(pool.acquire().await.unwrap());
    events.wait_for(3, opened).await;
    sleep(HOUR * 24).await;
    assert_eq!((events.count(opened), events.count(closed)), (3, 0));
    assert_eq!(assert_balanced(&pool).connections.idle, 3);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_lost_is_replaced_up_to_the_minimum() {
    let (pool, events) = observed(Scripted::always(Step::Open), options(|_| {}));
    pool.warm_up();
    drop(pool.acquire().await.unwrap());
    events.wait_for(2, opened).await;
    let lost = pool.sessions()[0].id();
    assert!(pool.evict(lost));
    events.wait_for(3, opened).await;
    at_rest().await;
    let status = assert_balanced(&pool);
    assert_eq!(status.connections.idle, 2);
    assert!(status.sessions.iter().all(|session| session.id != lost));
}

#[tokio::test(start_paused = true)]
async fn a_pool_grown_for_a_peak_shrinks_after_it_from_the_cold_end() {
    let (pool, _) = observed(
        Scripted::always(Step::Open),
        quiet_with(|options| {
            options.sharing = SharingMode::Exclusive;
            options.max_session_age = HOUR * 100;
        }),
    );
    open(&pool, 10).await;
    // A sequential caller keeps meeting the same warm session, and the others grow old.
    let warm = pool.acquire().await.unwrap().id();
    for _ in 0..100 {
        let lease = pool.acquire().await.unwrap();
        assert_eq!(lease.id(), warm);
        drop(lease);
        sleep(Duration::from_secs(10)).await;
    }
    let status = assert_balanced(&pool);
    assert_eq!((status.connections.idle, status.opened), (1, 10));
    assert_eq!(status.sessions[0].id, warm);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_due_together_are_probed_once_each() {
    let ten = options(|options| {
        options.max_connections = 10;
        options.min_connections = 10;
        options.max_connecting = 10;
    });
    let (pool, events) = observed(Scripted::always(Step::Open), ten);
    pool.warm_up();
    events.wait_for(10, opened).await;
    sleep(Duration::from_secs(63)).await;
    let probed = |event: &PoolEvent| matches!(event, PoolEvent::Probed { .. });
    assert_eq!(events.count(probed), 10);
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_session_is_not_leased_while_it_has_a_probe_to_answer() {
    let server = TestServer::with_options(Options {
        faults: Faults {
            hang: Some(Hang::AfterHandshake),
            ..Faults::default()
        },
        ..Options::default()
    });
    let pool = pool_on(
        &server,
        quiet_with(|options| {
            options.sharing = SharingMode::Exclusive;
            options.health_check_interval = Duration::from_secs(60);
            options.probe_timeout = Duration::from_secs(5);
        }),
    );
    let probed = pool.acquire().await.unwrap().id();
    sleep(Duration::from_secs(62)).await;
    assert_eq!(pool.sessions()[0].id(), probed, "it may still answer");
    let lease = pool.acquire().await.unwrap();
    assert_ne!(lease.id(), probed, "a call beside the probe");
}
