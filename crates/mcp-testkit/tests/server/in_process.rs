//! The server inside the test's own process.

use mcp_testkit::{Era, FailFirst, Faults, Hang, OpeningFailure, TestServer, process::wait_until};
use rmcp::{
    ServiceExt,
    model::{ClientRequest, CustomRequest, PingRequest},
    service::{ClientLifecycleMode, ClientServiceExt},
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{A_WHILE, Client, SOON, auto, call, discover, initialize, text};

async fn connect(server: &TestServer, lifecycle: ClientLifecycleMode) -> Client {
    ().serve_with_lifecycle(server.connect(), lifecycle)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_counters_prove_what_reached_the_server() {
    let server = TestServer::new();
    let legacy = connect(&server, initialize()).await;
    let modern = connect(&server, discover()).await;
    call(&legacy, "echo", json!({"message": "1"}))
        .await
        .unwrap();
    call(&modern, "echo", json!({"message": "2"}))
        .await
        .unwrap();
    call(&modern, "count", json!({})).await.unwrap();
    legacy
        .send_request(ClientRequest::PingRequest(PingRequest::default()))
        .await
        .unwrap();
    legacy.list_tools(None).await.unwrap();
    let unknown = CustomRequest::new("testkit/unknown", None);
    assert!(
        modern
            .send_request(ClientRequest::CustomRequest(unknown))
            .await
            .is_err()
    );

    assert_eq!((server.initializations(), server.discoveries()), (1, 1));
    assert_eq!(
        (
            server.calls(),
            server.calls_of("echo"),
            server.calls_of("count")
        ),
        (3, 2, 1)
    );
    assert_eq!((server.pings(), server.lists()), (1, 1));
    assert_eq!(server.requests_of("testkit/unknown"), 1);
    assert_eq!(server.requests(), 8);
}

#[tokio::test]
async fn clones_share_the_counters_and_number_their_sessions() {
    let server = TestServer::new();
    for session in 1..=3 {
        let client = connect(&server.clone(), auto()).await;
        let me = call(&client, "whoami", json!({})).await.unwrap();
        assert_eq!(me.structured_content.unwrap()["session"], session);
    }
    assert_eq!(server.calls(), 3);
}

#[tokio::test]
async fn it_serves_over_transports_of_rmcp_too() {
    for (era, lifecycle) in [
        (Era::Legacy, initialize()),
        (Era::Modern, discover()),
        (Era::Both, auto()),
    ] {
        let server = TestServer::new().with_era(era);
        let (near, far) = tokio::io::duplex(4096);
        let session = server.clone();
        let mut sessions = JoinSet::new();
        // On a modern session rmcp's `serve` returns only at the first request after the discovery.
        sessions.spawn(async move { session.serve(far).await.unwrap().waiting().await });
        let client = ().serve_with_lifecycle(near, lifecycle).await;
        let client = client.unwrap();
        let answer = call(&client, "echo", json!({"message": "hello"}))
            .await
            .unwrap();
        assert_eq!(text(&answer), "hello");
        assert_eq!((server.calls(), server.requests()), (1, 2));
    }
}

#[tokio::test]
async fn without_a_wire_the_eras_are_refused_all_the_same() {
    for (era, lifecycle) in [(Era::Legacy, discover()), (Era::Modern, initialize())] {
        let (near, far) = tokio::io::duplex(4096);
        let server = TestServer::new().with_era(era);
        let (_running, client) = tokio::join!(server.serve(far), async {
            // The server's side ends with the client's, so that both sides return.
            ().serve_with_lifecycle(near, lifecycle).await.err()
        });
        assert!(client.is_some());
    }
}

#[tokio::test]
async fn an_exit_in_process_drops_the_connection_only() {
    let server = TestServer::with_faults(Faults {
        exit_after_calls: Some(1),
        ..Faults::default()
    });
    for _ in 0..2 {
        let client = connect(&server, auto()).await;
        let answer = call(&client, "echo", json!({"message": "last"}))
            .await
            .unwrap();
        assert_eq!(text(&answer), "last");
        assert!(wait_until(SOON, || client.is_transport_closed()).await);
    }
    let client = connect(&TestServer::new(), auto()).await;
    assert!(call(&client, "exit", json!({})).await.is_err());
    assert!(wait_until(SOON, || client.is_transport_closed()).await);
}

#[tokio::test]
async fn a_freeze_in_process_fills_the_stream() {
    let server = TestServer::with_faults(Faults {
        hang: Some(Hang::FreezeStdin),
        ..Faults::default()
    });
    let client = connect(&server, initialize()).await;
    let message = "x".repeat(1 << 20);
    let stuck = call(&client, "echo", json!({"message": message}));
    assert!(tokio::time::timeout(A_WHILE, stuck).await.is_err());
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn garbage_and_fragile_openings_work_in_process_too() {
    let server = TestServer::with_faults(Faults {
        garbage: true,
        fail_first: Some(FailFirst {
            openings: 1,
            how: OpeningFailure::Exit,
            state_file: None,
        }),
        ..Faults::default()
    });
    assert!(
        ().serve_with_lifecycle(server.connect(), initialize())
            .await
            .is_err()
    );
    let client = connect(&server, initialize()).await;
    let answer = call(&client, "garbage", json!({"lines": 30}))
        .await
        .unwrap();
    assert_eq!(text(&answer), "30 lines of garbage");
}

#[tokio::test]
async fn a_connection_that_is_dropped_ends_its_session() {
    let server = TestServer::new();
    let client = connect(&server, auto()).await;
    assert_eq!(server.open_connections(), 1);
    drop(client);
    assert!(wait_until(SOON, || server.open_connections() == 0).await);
}
