//! What the routes do: health checks, resets, drains, silences.

use super::*;

#[tokio::test]
async fn a_health_check_really_asks() {
    let server = TestServer::new();
    let settings = PoolSettings::new().lifecycle(Lifecycle::Initialize);
    let served = Served::start(in_process(&server, settings).await, |admin| admin).await;
    let before = server.pings();
    let (status, report) = served.post("/api/v1/mcp/pools/test/health-check").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&report["status"], &report["probe"]["alive"]),
        (&json!("healthy"), &json!(true))
    );
    assert_eq!(server.pings() - before, 1);
    served.end().await;
}

#[tokio::test]
async fn a_health_check_of_a_frozen_server_is_critical_in_time_and_retires_the_session() {
    let settings = PoolSettings::new()
        .probe_timeout(SECOND / 2)
        .min_connections(0)
        .retry_attempts(0);
    let manager = ConnectionManager::builder()
        .server(
            "test",
            process(&["--freeze-stdin", "--era", "legacy"]).pool(settings),
        )
        .build()
        .await
        .unwrap();
    let served = Served::start(manager, |admin| admin).await;
    let began = Instant::now();
    let (status, report) = served.post("/api/v1/mcp/pools/test/health-check").await;
    assert_eq!(status, StatusCode::OK);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    assert_eq!(
        (&report["status"], &report["probe"]["alive"]),
        (&json!("critical"), &json!(false))
    );
    let took = report["probe"]["took_seconds"].as_f64().unwrap();
    assert!((0.5..5.0).contains(&took), "{took}");
    let (_, pool) = served.get("/api/v1/mcp/pools/test").await;
    let closed = &pool["pools"][0];
    assert!(
        closed["closed"]["probe_failed"] == 1 || closed["closing"] == 1,
        "{closed}"
    );
    served.end().await;
}

#[tokio::test]
async fn a_reset_closes_the_breaker() {
    let manager = in_process(&TestServer::new(), trips_at_once()).await;
    let served = Served::start(manager, |admin| admin).await;
    run_out_of_time(&served.manager).await;
    let (_, pool) = served.get("/api/v1/mcp/pools/test").await;
    assert_eq!(pool["circuit_breaker_state"], "open");
    assert_eq!(pool["health"]["status"], "critical");
    assert!(
        pool["retry_after_seconds"].as_f64().unwrap() > 500.0,
        "{pool}"
    );
    let (_, status) = served.get("/api/v1/mcp/status").await;
    assert_eq!(status["status"], "critical");

    let (status, reset) = served.post("/api/v1/mcp/pools/test/reset").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&reset["server_name"], &reset["breakers_closed"]),
        (&json!("test"), &json!(1))
    );
    let (_, pool) = served.get("/api/v1/mcp/pools/test").await;
    assert_eq!(
        (&pool["circuit_breaker_state"], &pool["retry_after_seconds"]),
        (&json!("closed"), &Value::Null)
    );
    call(&served.manager).await;
    served.end().await;
}

#[tokio::test]
async fn a_drain_replaces_sessions_and_does_not_wait_for_ever() {
    let served = served().await;
    let tools = served.manager.tools("test").unwrap();
    call(&served.manager).await;
    let sessions = || async {
        let (_, pool) = served.get("/api/v1/mcp/pools/test").await;
        let sessions = pool["pools"][0]["sessions"].as_array().cloned().unwrap();
        sessions
            .iter()
            .map(|session| session["id"].as_u64().unwrap())
            .collect::<BTreeSet<_>>()
    };
    let old = sessions().await;
    let (status, drained) = served.post("/api/v1/mcp/pools/test/drain").await;
    assert_eq!((status, &drained["done"]), (StatusCode::OK, &json!(true)));
    assert_eq!(sessions().await, BTreeSet::new());

    let slow = tokio::spawn(async move { tools.call("sleep", json!({ "ms": 4_000 })).await });
    while sessions().await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(sessions().await.is_disjoint(&old));
    let (status, drained) = served.post("/api/v1/mcp/pools/test/drain").await;
    assert_eq!(
        (status, &drained["done"]),
        (StatusCode::ACCEPTED, &json!(false))
    );
    slow.await.unwrap().expect("the call is not disturbed");
    served.end().await;
}

#[tokio::test]
async fn an_alert_is_silenced_for_a_while_and_the_silence_can_be_ended() {
    let manager = in_process(&TestServer::new(), trips_at_once()).await;
    let served = Served::start(manager, |admin| admin).await;
    let silence = "/api/v1/mcp/alerts/silence?server=test&kind=circuit_breaker_open";
    let (status, reported) = served.post(silence).await;
    assert_eq!(
        (status, &reported["seconds"]),
        (StatusCode::OK, &json!(3600))
    );
    run_out_of_time(&served.manager).await;
    let began = Instant::now();
    let until = async || loop {
        let (_, alerts) = served.get("/api/v1/mcp/alerts").await;
        if let Some(alert) = alerts.get(0) {
            break alert["silenced_until"].clone();
        }
        assert!(began.elapsed() < LONG, "no alert is raised");
        tokio::time::sleep(SECOND / 10).await;
    };
    assert!(until().await.is_string());
    let (status, _) = served.post(&format!("{silence}&seconds=0")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(until().await, Value::Null);
    let (status, problem) = served.post(&format!("{silence}&seconds=99999999")).await;
    assert_eq!(
        (status, &problem["field"]),
        (StatusCode::BAD_REQUEST, &json!("seconds"))
    );
    served.end().await;
}
