//! Servers that die, also during calls: their calls end at once, other calls go on, and their sessions are not leased again.

use crate::common;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    Scripted, Step, assert_balanced, at_rest, call, closed, echo, observed, opened, options,
    pool_of, quiet, quiet_with, servers::server, text, within,
};
use mcp_pool_core::{
    CallFailure, CloseReason, Lease, PoolEvent, PoolOptions, Session, SessionState, SharingMode,
    rmcp::{ServiceError, model::CallToolResult},
};
use mcp_testkit::{Faults, Lateness, TestServer, process};
use serde_json::json;
use tokio::task::JoinHandle;

/// A second call at once goes to a second session.
fn two_sessions() -> PoolOptions {
    quiet_with(|options| {
        options.sharing = SharingMode::Exclusive;
        options.max_connections = 2;
    })
}

type Calling = JoinHandle<(Result<CallToolResult, ServiceError>, Instant, Lease)>;

fn call_apart(lease: Lease, tool: &'static str, arguments: serde_json::Value) -> Calling {
    tokio::spawn(async move {
        let answer = call(&lease, tool, arguments).await;
        (answer, Instant::now(), lease)
    })
}

/// Asks the server, on the session of the calls themselves, until it has begun so many of `sleep`.
async fn begun(session: &Session, calls: u64) {
    loop {
        let stats = call(session, "stats", json!({})).await.unwrap();
        let sleeping = &stats.structured_content.unwrap()["calls"]["sleep"];
        if sleeping.as_u64() == Some(calls) {
            return;
        }
    }
}

fn broken(event: &PoolEvent) -> bool {
    matches!(
        event,
        PoolEvent::Closed {
            reason: CloseReason::Broken,
            ..
        }
    )
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_a_call_fails_that_call_at_once_and_no_other() {
    let (pool, events) = observed(server(""), two_sessions());
    let (victim, neighbour) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let (pid, dead) = (victim.pid().unwrap(), victim.id());
    assert_ne!(Some(pid), neighbour.pid());
    let asked = Arc::clone(victim.session());
    let dying = call_apart(victim, "sleep", json!({"ms": 60_000}));
    let living = call_apart(neighbour, "sleep", json!({"ms": 500}));
    within(begun(&asked, 1)).await;

    let machine = Lateness::watch();
    let killed = Instant::now();
    process::signal(pid, rustix::process::Signal::KILL).unwrap();
    let (answer, ended, lease) = within(dying).await.unwrap();
    let error = answer.unwrap_err();
    machine.assert_within(Duration::from_millis(100), ended - killed);
    assert_eq!(lease.begin_call(None).failed(&error), CallFailure::Lost);
    assert!(lease.has_ended());
    assert!(
        lease.cause_of_end().await.contains("signal: 9"),
        "{}",
        lease.cause_of_end().await
    );
    drop(lease);

    let next = within(pool.acquire()).await.unwrap();
    assert_ne!(next.id(), dead);
    assert_eq!(echo(&next).await, "hello");
    let (answer, ..) = within(living).await.unwrap();
    assert_eq!(text(&answer.unwrap()), "slept 500 ms");
    drop(next);
    within(events.wait_for(1, broken)).await;
    within(pool.close()).await;
    let status = assert_balanced(&pool);
    assert_eq!(status.closed[&CloseReason::Broken], 1);
    assert_eq!(status.connections.total, 0);
}

/// As one that enters rmcp's queue in the moment in which its loop ends.
#[tokio::test]
async fn a_request_that_nobody_will_ever_answer_ends_with_its_session() {
    let (pool, _) = observed(server(""), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let unanswered = std::future::pending::<Result<(), ServiceError>>();
    let waiting = lease.while_it_lives(unanswered);
    let kill = async {
        process::signal(lease.pid().unwrap(), rustix::process::Signal::KILL).unwrap();
    };
    let (end, ()) = within(async { tokio::join!(waiting, kill) }).await;
    assert!(matches!(end, Err(ServiceError::TransportClosed)), "{end:?}");
    let failure = lease.begin_call(None).failed(&end.unwrap_err());
    assert_eq!(failure, CallFailure::Lost);
    drop(lease);
    assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[tokio::test]
async fn pain_03_a_session_that_broke_while_idle_is_never_leased() {
    for _ in 0..5 {
        let (pool, events) = observed(server(""), quiet());
        let lease = within(pool.acquire()).await.unwrap();
        let (pid, dead) = (lease.pid().unwrap(), lease.id());
        drop(lease);
        process::signal(pid, rustix::process::Signal::KILL).unwrap();
        within(events.wait_for(1, broken)).await;
        let lease = within(pool.acquire()).await.unwrap();
        assert_ne!(lease.id(), dead);
        assert_eq!(echo(&lease).await, "hello");
        drop(lease);
        within(pool.close()).await;
    }
}

#[tokio::test]
async fn all_calls_on_a_shared_session_fail_when_it_dies_and_the_next_ones_are_served() {
    let (pool, events) = observed(server(""), quiet());
    let mut leases = Vec::new();
    for _ in 0..8 {
        leases.push(within(pool.acquire()).await.unwrap());
    }
    let pid = leases[0].pid().unwrap();
    let asked = Arc::clone(leases[0].session());
    let calls: Vec<_> = leases
        .into_iter()
        .map(|lease| call_apart(lease, "sleep", json!({"ms": 60_000})))
        .collect();
    within(begun(&asked, 8)).await;
    process::signal(pid, rustix::process::Signal::KILL).unwrap();
    for call in calls {
        assert!(within(call).await.unwrap().0.is_err());
    }
    assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
    within(events.wait_for(1, broken)).await;
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[tokio::test]
async fn a_server_that_closes_its_stdout_and_lives_on_is_replaced() {
    let (pool, events) = observed(server("--ignore-eof"), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let pid = lease.pid().unwrap();
    let (machine, began) = (Lateness::watch(), Instant::now());
    let answer = within(call(&lease, "close_stdout", json!({}))).await;
    assert!(answer.is_err(), "{answer:?}");
    machine.assert_within(Duration::from_secs(1), began.elapsed());
    assert!(lease.cause_of_end().await.contains("closed its stdout"));
    drop(lease);
    let next = within(pool.acquire()).await.unwrap();
    assert_eq!(echo(&next).await, "hello");
    drop(next);
    within(events.wait_for(1, broken)).await;
    assert!(
        !process::alive(pid),
        "nothing is left of it when its end is reported"
    );
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[tokio::test]
async fn a_line_of_twenty_mebibytes_ends_its_session_with_a_reason() {
    let (pool, events) = observed(server(""), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let answer = within(call(&lease, "huge_line", json!({}))).await;
    assert!(answer.is_err());
    assert!(lease.cause_of_end().await.contains("max_message_size"));
    drop(lease);
    assert_eq!(echo(&within(pool.acquire()).await.unwrap()).await, "hello");
    within(events.wait_for(1, broken)).await;
    within(pool.close()).await;
    assert_balanced(&pool);
}

#[tokio::test]
async fn a_line_below_the_limit_passes() {
    let pool = pool_of(server("").max_message_size(1_000_000), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let answer = within(call(&lease, "big", json!({"bytes": 900_000})))
        .await
        .unwrap();
    assert_eq!(text(&answer).len(), 900_000);
    drop(lease);
    within(pool.close()).await;
}

#[tokio::test]
async fn pain_25_garbage_on_stdout_is_skipped_and_counted() {
    let pool = pool_of(server("--garbage"), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    assert_eq!(echo(&lease).await, "hello");
    let before = lease.noise_lines();
    assert!(before > 0);
    within(call(&lease, "garbage", json!({"lines": 100})))
        .await
        .unwrap();
    assert_eq!(echo(&lease).await, "hello");
    assert!(
        lease.noise_lines() >= before + 90,
        "{}",
        lease.noise_lines()
    );
    assert_eq!(pool.status().sessions[0].noise_lines, lease.noise_lines());
    drop(lease);
    within(pool.close()).await;
    assert_eq!(
        assert_balanced(&pool).closed.get(&CloseReason::Broken),
        None
    );
}

#[tokio::test]
async fn pain_25_a_flood_on_stderr_blocks_nobody() {
    let pool = pool_of(server("--flood-stderr 1000000"), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    within(call(&lease, "flood_stderr", json!({"bytes": 1_000_000})))
        .await
        .unwrap();
    assert_eq!(echo(&lease).await, "hello");
    assert_eq!(lease.stderr_tail().len(), 50);
    drop(lease);
    within(pool.close()).await;
}

#[tokio::test]
async fn a_server_that_exits_after_each_call_is_replaced_each_time() {
    let (pool, events) = observed(server("--exit-after-calls 1"), quiet());
    for round in 1..=5 {
        let lease = within(pool.acquire()).await.unwrap();
        let guard = lease.begin_call(None);
        assert_eq!(echo(&lease).await, "hello");
        guard.answered();
        drop(lease);
        within(events.wait_for(round, broken)).await;
    }
    // It has served each time: no reason to keep away from it.
    assert_eq!(pool.status().retry_after, None);
    within(pool.close()).await;
    assert_eq!(assert_balanced(&pool).opened, 5);
}

#[tokio::test(start_paused = true)]
async fn pain_08_a_server_that_dies_as_soon_as_it_is_open_is_not_hammered() {
    let server = TestServer::with_faults(Faults {
        exit_mid_call: Some("echo".into()),
        ..Faults::default()
    });
    let connector = Scripted::new(&server, |_| Step::Open);
    let (pool, events) = observed(connector.clone(), quiet());
    let mut opened_within_ten_seconds = 0;
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        match pool.acquire().await {
            Ok(lease) => {
                assert!(
                    call(&lease, "echo", json!({"message": "die"}))
                        .await
                        .is_err()
                );
                opened_within_ten_seconds += 1;
            }
            Err(error) => {
                let text = format!("{error:?}");
                assert!(text.contains("as soon as they are open"), "{text}");
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        (3..12).contains(&opened_within_ten_seconds),
        "{opened_within_ten_seconds}"
    );
    at_rest().await;
    assert_eq!(events.count(opened), events.count(closed));
    assert_balanced(&pool);
}

/// Idle sessions that are killed one after the other while calls are served beside them.
#[tokio::test(start_paused = true)]
async fn sessions_killed_while_others_serve_are_replaced_at_once() {
    let server = TestServer::new();
    let (pool, events) = observed(
        Scripted::new(&server, |_| Step::Open),
        options(|options| {
            options.min_connections = 2;
            options.max_in_flight = 1;
        }),
    );
    pool.warm_up();
    let serving = pool.acquire().await.unwrap();
    at_rest().await;
    for killed in 1..=10 {
        for _ in 0..20 {
            let guard = serving.begin_call(None);
            assert_eq!(echo(&serving).await, "hello");
            guard.answered();
        }
        // The spare one was never called.
        let spare = pool.sessions();
        let spare = spare.iter().find(|spare| spare.id() != serving.id());
        spare
            .expect("it was replaced")
            .cancellation_token()
            .cancel();
        events.wait_for(killed, broken).await;
        at_rest().await;
        assert_eq!(pool.status().retry_after, None, "after {killed}");
    }
    drop(serving);
    assert_eq!(assert_balanced(&pool).opened, 12);
}

/// A session that served, a probe it may be, did not die as soon as it was open.
#[tokio::test(start_paused = true)]
async fn sessions_that_have_answered_anything_are_replaced_at_once() {
    let server = TestServer::new();
    let (pool, events) = observed(Scripted::new(&server, |_| Step::Open), quiet());
    for killed in 1..=10 {
        assert!(pool.probe().await.unwrap().alive);
        pool.sessions()[0].cancellation_token().cancel();
        events.wait_for(killed, broken).await;
        at_rest().await;
        assert_eq!(pool.status().retry_after, None, "after {killed}");
    }
    assert_eq!(assert_balanced(&pool).opened, 10);
}

/// The second death in a row is met by a pause, unless a session served between the two.
#[tokio::test(start_paused = true)]
async fn a_session_that_served_forgives_the_death_before_it() {
    let server = TestServer::new();
    let (pool, events) = observed(Scripted::new(&server, |_| Step::Open), quiet());
    for (death, serves, pauses) in [
        (1, false, false),
        (2, true, false),
        (3, false, false),
        (4, false, true),
    ] {
        let lease = pool.acquire().await.unwrap();
        if serves {
            assert_eq!(echo(&lease).await, "hello");
        }
        lease.session().cancellation_token().cancel();
        events.wait_for(death, broken).await;
        drop(lease);
        at_rest().await;
        let paused = pool.status().retry_after.is_some();
        assert_eq!(paused, pauses, "after death {death}");
    }
    assert_balanced(&pool);
}

#[tokio::test]
async fn the_end_of_a_session_can_be_watched() {
    let (pool, events) = observed(server(""), quiet());
    let lease = within(pool.acquire()).await.unwrap();
    let mut states = lease.lifecycle().subscribe();
    assert_eq!(*states.borrow_and_update(), SessionState::Ready);
    process::signal(lease.pid().unwrap(), rustix::process::Signal::KILL).unwrap();
    // Either state may be over before it is seen.
    within(states.wait_for(|state| *state >= SessionState::Error))
        .await
        .unwrap();
    within(states.wait_for(|state| *state == SessionState::Shutdown))
        .await
        .unwrap();
    drop(lease);
    within(events.wait_for(1, closed)).await;
    within(pool.close()).await;
}

#[tokio::test]
async fn a_death_counts_whoever_finds_it() {
    // After so many turns of the runtime the attendant, or the caller before it, meets the end.
    for turns in 0..6 {
        let (pool, events) = observed(Scripted::always(Step::Open), quiet());
        let session = Arc::clone(pool.acquire().await.unwrap().session());
        session.cancellation_token().cancel();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        let lease = within(pool.acquire()).await.unwrap();
        let met = lease.id() == session.id();
        drop(lease);
        events.wait_for(1, closed).await;
        if !met {
            assert_eq!(pool.status().errors.get("call"), Some(&1), "after {turns}");
        }
    }
}
