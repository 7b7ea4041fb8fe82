//! A failed opening reports its cause to all waiters at once, and is not repeated without need.

use crate::common;
use std::{error::Error, time::Duration};

use common::{
    Scripted, Step, acquire_apart, assert_all_places_work, assert_balanced, at_rest,
    attempt_failed, echo, observed, opened, options, pool_of, quiet, quiet_with, within,
};
use mcp_pool_core::{AcquireError, OpenError, OpenErrorKind, Phase, PoolEvent};
use mcp_testkit::TestServer;
use tokio::time::Instant;

fn cause(error: &AcquireError) -> &OpenError {
    match error {
        AcquireError::Open { cause, .. } => cause,
        other => panic!("not a failed opening: {other:?}"),
    }
}

fn open_failed(event: &PoolEvent) -> bool {
    matches!(event, PoolEvent::OpenFailed { .. })
}

#[tokio::test(start_paused = true)]
async fn everybody_who_waited_for_an_opening_is_told_its_cause_at_once() {
    let connector = Scripted::always(Step::GatedFail(OpenErrorKind::Unauthorized));
    let pool = pool_of(connector.clone(), options(|_| {}));
    let callers: Vec<_> = (0..100).map(|_| acquire_apart(&pool)).collect();
    connector.wait_begun(1).await;
    at_rest().await;
    connector.let_through(1);
    let known = Instant::now();
    for caller in callers {
        let error = within(caller).await.unwrap().unwrap_err();
        assert_eq!(cause(&error).kind(), OpenErrorKind::Unauthorized);
    }
    assert!(known.elapsed() < Duration::from_millis(100));
    assert_eq!(connector.begun(), 1);
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_cause_is_final_after_one_try() {
    for kind in [
        OpenErrorKind::CommandNotFound,
        OpenErrorKind::NotExecutable,
        OpenErrorKind::Unauthorized,
        OpenErrorKind::Forbidden,
        OpenErrorKind::NoCommonVersion,
        OpenErrorKind::Incompatible,
        OpenErrorKind::Config,
        OpenErrorKind::Http(404),
    ] {
        let (pool, events) = observed(Scripted::always(Step::Fail(kind)), options(|_| {}));
        let began = Instant::now();
        let error = pool.acquire().await.unwrap_err();
        assert_eq!(cause(&error).kind(), kind);
        assert!(began.elapsed() < Duration::from_millis(100), "{kind:?}");
        assert_eq!(events.count(attempt_failed), 1, "{kind:?}");
        assert_balanced(&pool);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_may_pass_is_tried_again_so_often_with_growing_pauses() {
    for kind in [
        OpenErrorKind::Unreachable,
        OpenErrorKind::ProcessExited,
        OpenErrorKind::Http(500),
        OpenErrorKind::Http(503),
        OpenErrorKind::Handshake,
    ] {
        let (pool, events) = observed(
            Scripted::always(Step::Fail(kind)),
            options(|options| options.retry_attempts = 2),
        );
        let began = Instant::now();
        let error = pool.acquire().await.unwrap_err();
        assert_eq!(cause(&error).kind(), kind);
        assert_eq!(events.count(attempt_failed), 3, "{kind:?}");
        assert_eq!(events.count(open_failed), 1);
        // 1 s and 2 s, each up to half as long again.
        let took = began.elapsed().as_secs_f64();
        assert!((3.0..4.6).contains(&took), "{kind:?}: {took}");
        assert_balanced(&pool);
    }
}

#[tokio::test(start_paused = true)]
async fn a_try_that_succeeds_after_failures_serves_those_who_waited() {
    let (pool, events) = observed(
        Scripted::new(&TestServer::new(), |number| match number {
            1..=3 => Step::Fail(OpenErrorKind::Unreachable),
            _ => Step::Open,
        }),
        options(|_| {}),
    );
    let callers: Vec<_> = (0..8).map(|_| acquire_apart(&pool)).collect();
    for caller in callers {
        drop(within_virtual(caller).await.unwrap().unwrap());
    }
    assert_eq!(events.count(attempt_failed), 3);
    assert_eq!(assert_balanced(&pool).last_error, None);
}

async fn within_virtual<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("took too long")
}

#[tokio::test(start_paused = true)]
async fn the_tries_stay_within_connection_timeout() {
    let (pool, _) = observed(
        Scripted::always(Step::Fail(OpenErrorKind::Unreachable)),
        options(|options| {
            options.retry_attempts = 1_000;
            options.connection_timeout = Duration::from_secs(10);
        }),
    );
    let began = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(cause(&error).kind(), OpenErrorKind::Unreachable);
    assert!(began.elapsed() <= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_server_that_hangs_in_the_handshake_wait_no_longer_than_connection_timeout() {
    let (pool, events) = observed(Scripted::always(Step::Never), quiet());
    let early = acquire_apart(&pool);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let late = acquire_apart(&pool);
    for (caller, moment) in [(early, 30), (late, 50)] {
        let error = within_virtual(caller).await.unwrap().unwrap_err();
        let AcquireError::Timeout {
            phase: Phase::Handshake,
            after,
            cause: Some(cause),
        } = error
        else {
            panic!("not a timeout of the handshake: {error:?}");
        };
        assert_eq!(after, Duration::from_secs(30), "{moment}");
        assert_eq!(cause.kind(), OpenErrorKind::Timeout);
        assert!(cause.to_string().contains("connection_timeout"), "{cause}");
    }
    assert_eq!(events.count(attempt_failed), 0);
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert_eq!(events.count(attempt_failed), 1);
    assert_eq!(assert_balanced(&pool).connections.total, 0);
}

#[tokio::test(start_paused = true)]
async fn callers_in_between_get_the_same_cause_and_when_to_come_back() {
    let connector = Scripted::new(&TestServer::new(), |number| match number {
        1 => Step::Fail(OpenErrorKind::Unreachable),
        _ => Step::Open,
    });
    let pool = pool_of(connector.clone(), quiet());
    assert!(pool.acquire().await.is_err());
    let began = Instant::now();
    let AcquireError::Open { cause, retry_after } = pool.acquire().await.unwrap_err() else {
        panic!("the same cause was to be expected");
    };
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(cause.kind(), OpenErrorKind::Unreachable);
    let retry_after = retry_after.expect("a time to come back");
    assert!(retry_after <= Duration::from_millis(300), "{retry_after:?}");
    assert_eq!(connector.begun(), 1, "a failed server is not hammered");
    let status = pool.status();
    assert_eq!(status.retry_after, Some(retry_after));
    assert!(status.last_error.unwrap().contains("Unreachable"));

    tokio::time::sleep(retry_after).await;
    at_rest().await;
    assert_eq!(echo(&pool.acquire().await.unwrap()).await, "hello");
    let status = assert_balanced(&pool);
    assert_eq!((status.last_error, status.retry_after), (None, None));
}

#[tokio::test(start_paused = true)]
async fn pain_08_openings_back_off_up_to_half_a_minute_and_start_anew_after_a_success() {
    let connector = Scripted::new(&TestServer::new(), |number| match number {
        13 => Step::Open,
        _ => Step::Fail(OpenErrorKind::Unreachable),
    });
    let pool = pool_of(connector.clone(), quiet());
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let AcquireError::Open { retry_after, .. } = pool.acquire().await.unwrap_err() else {
            panic!("not a failed opening");
        };
        let pause = retry_after.expect("a pause");
        pauses.push(pause);
        tokio::time::sleep(pause).await;
        at_rest().await;
    }
    assert!(pauses[0] >= Duration::from_millis(200), "{pauses:?}");
    assert!(
        pauses.is_sorted() && pauses[6] > Duration::from_secs(10),
        "{pauses:?}"
    );
    assert!(pauses[11] == Duration::from_secs(30), "{pauses:?}");
    let lease = pool.acquire().await.unwrap();
    pool.evict(lease.id());
    drop(lease);
    at_rest().await;
    assert!(pool.acquire().await.is_err());
    assert!(pool.status().retry_after.unwrap() <= Duration::from_millis(300));
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn live_sessions_serve_while_openings_back_off() {
    let connector = Scripted::new(&TestServer::new(), |number| match number {
        1 => Step::Open,
        _ => Step::Fail(OpenErrorKind::Unreachable),
    });
    let (pool, events) = observed(
        connector.clone(),
        quiet_with(|options| options.scale_up_at = 1),
    );
    let first = pool.acquire().await.unwrap();
    let second = pool.acquire().await.unwrap();
    events.wait_for(1, open_failed).await;
    for _ in 0..14 {
        assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
    }
    drop((first, second));
    assert_eq!(assert_balanced(&pool).connections.idle, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_comes_back_is_found_without_anybody_asking() {
    let connector = Scripted::new(&TestServer::new(), |number| match number {
        1 => Step::Open,
        2..=5 => Step::Fail(OpenErrorKind::Unreachable),
        _ => Step::Open,
    });
    let (pool, events) = observed(
        connector.clone(),
        quiet_with(|options| options.min_connections = 1),
    );
    pool.warm_up();
    let lease = pool.acquire().await.unwrap();
    pool.evict(lease.id());
    drop(lease);
    events.wait_for(4, open_failed).await;
    events.wait_for(2, opened).await;
    at_rest().await;
    assert_eq!(assert_balanced(&pool).connections.idle, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_panics_does_not_lose_its_place() {
    let connector = Scripted::new(&TestServer::new(), |number| match number {
        1..=5 => Step::Panic,
        _ => Step::Open,
    });
    let pool = pool_of(connector, quiet_with(|options| options.max_connections = 1));
    for _ in 0..5 {
        let error = within(pool.acquire()).await.unwrap_err();
        assert_eq!(cause(&error).kind(), OpenErrorKind::Internal);
        assert!(cause(&error).to_string().contains("panicked"), "{error}");
        assert_eq!(pool.status().sessions.len(), 0, "nothing is left half open");
        tokio::time::sleep(Duration::from_secs(31)).await;
    }
    assert_all_places_work(&pool).await;
    assert_eq!(assert_balanced(&pool).opened, 1);
}

#[tokio::test(start_paused = true)]
async fn two_failures_at_once_keep_to_the_longer_pause() {
    let connector = Scripted::new(&TestServer::new(), |number| match number {
        1..=9 => Step::GatedFail(OpenErrorKind::Unreachable),
        _ => Step::Open,
    });
    let (pool, events) = observed(
        connector.clone(),
        quiet_with(|options| {
            options.max_connecting = 9;
            options.scale_up_at = 1;
        }),
    );
    let callers: Vec<_> = (0..9).map(|_| acquire_apart(&pool)).collect();
    connector.wait_begun(9).await;
    connector.let_through(9);
    for caller in callers {
        assert!(within(caller).await.unwrap().is_err());
    }
    events.wait_for(9, open_failed).await;
    let pause = pool.status().retry_after.expect("a pause");
    assert!(
        pause > Duration::from_secs(5),
        "nine failures in a row: {pause:?}"
    );
    tokio::time::sleep(pause / 2).await;
    assert!(
        pool.acquire().await.is_err(),
        "the gate opened before its time"
    );
    assert_eq!(connector.begun(), 9);
    tokio::time::sleep(pause).await;
    assert_all_places_work(&pool).await;
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_ended_lets_the_next_caller_open_and_is_not_forgotten() {
    let connector = Scripted::new(&TestServer::new(), |number| match number {
        1..=5 => Step::Fail(OpenErrorKind::Unreachable),
        _ => Step::Open,
    });
    let pool = pool_of(connector.clone(), quiet());
    let mut longest = Duration::ZERO;
    for tries in 1..=5 {
        assert!(pool.acquire().await.is_err());
        assert!(
            pool.acquire().await.is_err(),
            "this one gets the remembered error"
        );
        assert_eq!(connector.begun(), tries);
        let pause = pool.status().retry_after.expect("a pause");
        assert!(pause > longest, "{pause:?} after {longest:?}");
        longest = pause;
        pool.end_backoff();
        assert_eq!(pool.status().retry_after, None);
    }
    let began = Instant::now();
    assert_eq!(echo(&pool.acquire().await.unwrap()).await, "hello");
    assert_eq!(began.elapsed(), Duration::ZERO);
    // The timers of the pauses that were ended do no harm.
    tokio::time::sleep(longest * 2).await;
    assert_eq!((connector.begun(), assert_balanced(&pool).opened), (6, 1));
}

#[tokio::test]
async fn an_error_shows_each_level_once() {
    let source = std::io::Error::other("the reason beneath");
    let error = OpenError::new(OpenErrorKind::Spawn, Phase::Open, "it would not start")
        .with_source(source)
        .with_stderr(vec!["first".into(), "last words".into(), "  ".into()]);
    assert_eq!(error.to_string(), "it would not start; stderr: last words");
    assert_eq!(error.source().unwrap().to_string(), "the reason beneath");
}
