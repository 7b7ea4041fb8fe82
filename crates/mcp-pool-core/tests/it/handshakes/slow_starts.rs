//! Servers that take longer to start than their callers wait.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_slowly_is_opened_in_either_era() {
    const START: Duration = Duration::from_secs(12);
    let slow = |behaves: fn(&Value) -> Vec<Act>| {
        let started = Mutex::new(false);
        Wire::new(move |_, message| {
            let wait = !std::mem::replace(&mut *started.lock(), true);
            let mut acts = behaves(message);
            if wait {
                acts.insert(0, Act::Wait(START));
            }
            acts
        })
    };
    // The last of them knows both.
    let both = |message: &Value| match method(message) {
        "server/discover" => modern(message),
        _ => legacy(message),
    };
    for (behaves, era) in [
        (legacy as fn(&Value) -> Vec<Act>, Era::Legacy),
        (modern, Era::Modern),
        (both, Era::Legacy),
    ] {
        let wire = slow(behaves);
        let began = Instant::now();
        assert_eq!(open(&wire).await.1, era);
        assert!((START..START + Duration::from_secs(1)).contains(&began.elapsed()));
        assert_eq!(*wire.connections.lock(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_opening_outlives_the_caller_who_asked_for_it() {
    const START: Duration = Duration::from_secs(40);
    let wire = Wire::new(|_, message| {
        let mut acts = modern(message);
        if method(message) == "server/discover" {
            acts.insert(0, Act::Wait(START));
        }
        acts
    });
    let pool = pool_of(wire.clone(), quiet());
    let began = Instant::now();
    match pool.acquire().await.unwrap_err() {
        AcquireError::Timeout { phase, cause, .. } => {
            assert_eq!(phase, Phase::Handshake);
            let cause = cause.unwrap().to_string();
            assert!(cause.contains("still starting"), "{cause}");
        }
        other => panic!("not a timeout: {other:?}"),
    }
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    drop(pool.acquire().await.unwrap());
    assert!(began.elapsed() < START + Duration::from_secs(1));
    assert_eq!(*wire.connections.lock(), 1);
    assert_balanced(&pool);
}

#[tokio::test(start_paused = true)]
async fn an_opening_ends_after_four_times_the_time_of_a_caller() {
    let wire = Wire::new(|_, _| Vec::new());
    let (pool, events) = observed(wire.clone(), quiet());
    let began = Instant::now();
    for _ in 0..3 {
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::Timeout { .. }), "{error:?}");
    }
    sleep(Duration::from_secs(10)).await;
    let AcquireError::Open { cause, .. } = pool.acquire().await.unwrap_err() else {
        panic!("the opening goes on");
    };
    assert_eq!(cause.kind(), OpenErrorKind::Timeout);
    assert_eq!(began.elapsed(), Duration::from_secs(120));
    assert_eq!(events.count(attempt_failed), 1);
    assert_eq!(*wire.connections.lock(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_to_discover_is_not_taken_for_another() {
    let wire = Wire::new(|_, message| match method(message) {
        "server/discover" => Vec::new(),
        "initialize" => {
            let late = json!({"jsonrpc": "2.0", "id": 1 << 30, "error": {"code": -32601, "message": "late"}});
            let mut acts = vec![Act::Send(late)];
            acts.extend(legacy(message));
            acts
        }
        "tools/list" => reply(message, json!({"tools": []})),
        _ => legacy(message),
    });
    let pool = pool_of(wire, quiet());
    let lease = pool.acquire().await.unwrap();
    assert_eq!(lease.session().era(), Era::Legacy);
    lease.peer().list_tools(None).await.unwrap();
}
