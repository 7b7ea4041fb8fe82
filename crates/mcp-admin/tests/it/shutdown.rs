//! The listener of the status API, from its first request to the end of the last process.

use crate::common;
use std::{sync::Arc, time::Duration};

use axum::{Router, routing::post};
use common::{LONG, Served, in_process, process};
use mcp_admin::Admin;
use mcp_pooled_tools::{ConnectionManager, ErrorKind, Initialization, PoolSettings};
use mcp_testkit::{Faults, Hang, TestServer};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::{
    net::TcpStream,
    sync::{Notify, oneshot},
    time::{Instant, timeout},
};

#[tokio::test]
async fn the_end_closes_the_door_first_and_the_manager_last() {
    let manager = ConnectionManager::builder()
        .server(
            "test",
            process(&[]).pool(PoolSettings::new().min_connections(0)),
        )
        .build()
        .await
        .unwrap();
    let tools = manager.tools("test").unwrap();
    let admin = Admin::new(manager.clone()).open_reads(true);
    let admin = admin.address("127.0.0.1:0");
    let listener = admin.clone().bind().await.unwrap();
    let address = listener.local_addr();
    let entered = Arc::new(Notify::new());
    let app = Router::new()
        .route("/slow", {
            let (tools, entered) = (tools.clone(), Arc::clone(&entered));
            post(async move || {
                entered.notify_one();
                let slept = tools.call("sleep", json!({ "ms": 500 })).await;
                // A second one, when the end has come already.
                let echoed = tools.call("echo", json!({ "message": "m" })).await;
                format!("{} {}", slept.is_ok(), echoed.is_ok())
            })
        })
        .nest_service("/pool", admin.router());
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(listener.serve_app(app, async {
        let _ = ended.await;
    }));
    let slow = tokio::spawn(
        reqwest::Client::new()
            .post(format!("http://{address}/slow"))
            .send(),
    );
    entered.notified().await;
    let events = format!("http://{address}/pool/api/v1/mcp/events");
    let events = reqwest::get(events).await.unwrap();
    assert_eq!(events.status(), StatusCode::OK);
    let pid = loop {
        let status = manager.pool_status("test").unwrap();
        if let Some(pid) = status.sessions.first().and_then(|session| session.pid) {
            break pid;
        }
        tokio::task::yield_now().await;
    };
    end.send(()).unwrap();
    let answer = slow.await.unwrap().unwrap().text().await.unwrap();
    assert_eq!(
        answer, "true true",
        "pools are there for as long as the application answers"
    );
    timeout(LONG, serving).await.unwrap().unwrap();
    // The stream has ended: axum's own server would have waited for it.
    timeout(LONG, events.bytes()).await.unwrap().unwrap();

    assert!(
        TcpStream::connect(address).await.is_err(),
        "there is no listener"
    );
    let error = manager.tools("test").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown);
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "its process has ended"
    );
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_after_the_grace() {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    let bound = Admin::new(manager.clone())
        .address("127.0.0.1:0")
        .grace(Duration::from_millis(200))
        .bind()
        .await
        .unwrap();
    let address = bound.local_addr();
    let entered = Arc::new(Notify::new());
    let route = {
        let entered = Arc::clone(&entered);
        post(move || async move {
            entered.notify_one();
            std::future::pending::<()>().await;
        })
    };
    let app = Router::new().route("/stuck", route);
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(bound.serve_app(app, async {
        let _ = ended.await;
    }));
    let stuck = tokio::spawn(
        reqwest::Client::new()
            .post(format!("http://{address}/stuck"))
            .send(),
    );
    entered.notified().await;
    end.send(()).unwrap();
    timeout(LONG, serving)
        .await
        .expect("it ends all the same")
        .unwrap();
    assert!(stuck.await.unwrap().is_err());
}

#[tokio::test]
async fn it_is_ready_when_servers_that_are_to_be_warm_are() {
    let server = TestServer::with_faults(Faults {
        hang: Some(Hang::BeforeHandshake),
        ..Faults::default()
    });
    let eager = PoolSettings::new()
        .min_connections(1)
        .initialization(Initialization::Eager)
        .connection_timeout(Duration::from_secs(1))
        .retry_attempts(0);
    let manager = in_process_eager(&server, eager).await;
    let served = Served::start(manager, |admin| admin).await;
    let (status, body) = served.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["ready"], false);
    assert!(body["reason"].as_str().unwrap().contains("eager"), "{body}");
    let alive = served
        .request(Method::GET, "/healthz")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (alive.status(), alive.text().await.unwrap().as_str()),
        (StatusCode::OK, "ok\n")
    );

    // It is known not to open: the other servers need not wait for it.
    let began = Instant::now();
    while served.get("/readyz").await.0 != StatusCode::OK {
        assert!(began.elapsed() < LONG, "never ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    served.end().await;
}

async fn in_process_eager(server: &TestServer, settings: PoolSettings) -> ConnectionManager {
    let server = server.clone();
    let connector =
        mcp_pooled_tools::core::connect::in_process::InProcess::new(move || server.clone());
    ConnectionManager::builder()
        .connector("test", connector, settings)
        .build()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_request_that_is_not_sent_is_not_waited_for() {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    let soon = Duration::from_millis(300);
    let served = Served::start(manager, |admin| admin.idle_timeout(soon)).await;
    for said in ["", "GET /healthz HTTP/1.1\r\nHost: loc"] {
        let answer = timeout(LONG, served.raw(said)).await.expect("it hangs up");
        assert_eq!(answer, "", "{said}");
    }
    let huge = "x".repeat(1 << 20);
    let answer = served
        .raw(&format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {huge}\r\n\r\n"
        ))
        .await;
    // Nothing, if the rest of it was still on its way.
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let (status, _) = served.get("/readyz").await;
    assert_eq!(status, StatusCode::OK, "the others are served");
    served.end().await;
}

#[tokio::test]
async fn a_balancer_has_time_to_notice_that_the_end_has_come() {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    let bound = Admin::new(manager.clone())
        .address("127.0.0.1:0")
        .drain_delay(Duration::from_secs(1))
        .bind()
        .await
        .unwrap();
    let address = bound.local_addr();
    let serving = tokio::spawn(bound.serve(async {}));
    let ready = reqwest::get(format!("http://{address}/readyz"))
        .await
        .unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let reported = ready.text().await.unwrap();
    assert!(reported.contains("about to end"), "{reported}");
    assert!(manager.tools("test").is_ok(), "everybody is served still");
    timeout(LONG, serving).await.unwrap().unwrap();
    assert!(manager.tools("test").is_err());
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_all_the_same() {
    let manager = ConnectionManager::builder()
        .server("test", process(&["--hang-before-handshake"]))
        .build()
        .await
        .unwrap();
    let served = Served::start(manager, |admin| {
        admin.request_timeout(Duration::from_millis(300))
    })
    .await;
    let (status, problem) = served.post("/api/v1/mcp/pools/test/health-check").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{problem}");
    served.end().await;
}
