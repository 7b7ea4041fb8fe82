//! One listener for clients and for operators.

use std::net::SocketAddr;

use axum::{Extension, body::Body, extract::ConnectInfo};
use mcp_gateway::Gateway;
use mcp_http_server::Peer;
use mcp_testkit::TestServer;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::common::{
    Served,
    edge::{ANN, BEN, call, list, manager, request, two_tokens},
};

const OPERATOR: &str = "a-token-of-operators";

#[tokio::test]
async fn the_status_api_is_beside_the_endpoint_behind_a_check_of_its_own_and_shows_clients() {
    let manager = manager(&TestServer::new(), json!({ "tokens": two_tokens() })).await;
    let token = mcp_admin::Token::new(OPERATOR).unwrap();
    let gateway = Gateway::builder(manager).admin(|admin| admin.token(token));
    let gateway = Served::start(gateway).await;
    call(&gateway, BEN, "test__echo", json!({ "message": "hi" })).await;
    list(&gateway, ANN).await;

    let http = Client::new();
    let get = async |path: &str, token: Option<&str>| {
        let mut asked = http.get(format!("http://{}{path}", gateway.address));
        if let Some(token) = token {
            asked = asked.bearer_auth(token);
        }
        asked.send().await.unwrap()
    };
    for probe in ["/healthz", "/readyz", "/"] {
        assert_eq!(get(probe, None).await.status(), StatusCode::OK, "{probe}");
    }
    for path in ["/metrics", "/api/v1/mcp/clients", "/api/v1/mcp/status"] {
        for token in [None, Some(ANN)] {
            assert_eq!(
                get(path, token).await.status(),
                StatusCode::UNAUTHORIZED,
                "{path}"
            );
        }
        assert_eq!(
            get(path, Some(OPERATOR)).await.status(),
            StatusCode::OK,
            "{path}"
        );
    }
    let clients: Value = get("/api/v1/mcp/clients", Some(OPERATOR))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(clients["is_gateway"], true);
    let clients = clients["clients"].as_array().unwrap();
    let shown = |client: &Value| {
        let [principal, name, era, path] = ["principal", "name", "era", "path"]
            .map(|key| client[key].as_str().unwrap().to_owned());
        (
            principal,
            name,
            era,
            path,
            client["calls"].as_u64().unwrap(),
        )
    };
    let ann = |calls| {
        (
            "token:ann".to_owned(),
            "raw".to_owned(),
            "modern".to_owned(),
            "/mcp".to_owned(),
            calls,
        )
    };
    assert_eq!(clients.iter().map(shown).collect::<Vec<_>>()[0], ann(1));
    assert_eq!(clients.len(), 2);
    let as_principal = request(&gateway, OPERATOR, "tools/list", json!({}));
    assert_eq!(
        as_principal.send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );
    gateway.stop().await;
}

#[tokio::test]
async fn without_authentication_no_other_machine_is_served_whatever_the_listener() {
    let status = async |settings: Value, peer: &str| {
        let manager = manager(&TestServer::new(), settings).await;
        let gateway = Gateway::builder(manager).build().unwrap();
        let router = gateway
            .router()
            .layer(Extension(Peer::Tcp(peer.parse().unwrap())));
        let asked = http::Request::delete("/mcp").body(Body::empty()).unwrap();
        router.oneshot(asked).await.unwrap().status()
    };
    for local in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(
            status(json!({}), local).await,
            StatusCode::BAD_REQUEST,
            "{local}"
        );
    }
    assert_eq!(status(json!({}), "10.0.0.7:1").await, StatusCode::FORBIDDEN);
    let insecure = json!({ "insecure": true });
    assert_eq!(
        status(insecure, "10.0.0.7:1").await,
        StatusCode::BAD_REQUEST
    );
    let tokens = json!({ "tokens": two_tokens() });
    assert_eq!(
        status(tokens, "127.0.0.1:1").await,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn in_an_application_of_ones_own_a_request_of_unknown_origin_is_refused() {
    let manager = manager(&TestServer::new(), json!({})).await;
    let router = Gateway::builder(manager).build().unwrap().router();
    let status = async |router: axum::Router| {
        let asked = http::Request::delete("/mcp").body(Body::empty()).unwrap();
        router.oneshot(asked).await.unwrap().status()
    };
    assert_eq!(status(router.clone()).await, StatusCode::FORBIDDEN);
    for (address, expected) in [
        ("10.0.0.7:1", StatusCode::FORBIDDEN),
        ("127.0.0.1:1", StatusCode::BAD_REQUEST),
    ] {
        let address: SocketAddr = address.parse().unwrap();
        let router = router.clone().layer(Extension(ConnectInfo(address)));
        assert_eq!(status(router).await, expected, "{address}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_socket_is_open_to_its_owner_alone_and_replaces_one_that_is_left_over() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let manager = manager(
        &TestServer::new(),
        json!({ "socket": path, "tokens": two_tokens() }),
    )
    .await;
    let gateway = Gateway::builder(manager).build().unwrap();
    let listeners = gateway.listen().await.unwrap();
    assert_eq!(listeners.len(), 1);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let taken = gateway.listen().await.unwrap_err().to_string();
    assert!(taken.contains("another process listens there"), "{taken}");
}

#[cfg(unix)]
#[tokio::test]
async fn sockets_that_systemd_has_opened_are_served() {
    use std::{
        os::{fd::OwnedFd, unix::net::UnixListener},
        process::Stdio,
    };

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let with_unix = Client::builder().unix_socket(&*path).build().unwrap();
    for (socket, client) in [
        (OwnedFd::from(tcp), Client::new()),
        (OwnedFd::from(unix), with_unix),
    ] {
        // The first descriptor of the process, in place of the fourth.
        let gateway = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "listener::a_process_of_systemd", "--ignored"])
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDS_FIRST_FD", "0")
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // The connection waits in the socket until the gateway is there.
        let sent = client.get(format!("http://{address}/readyz")).send();
        let sent = tokio::time::timeout(crate::common::LONG, sent).await;
        assert_eq!(sent.unwrap().unwrap().status(), StatusCode::OK);
        drop(gateway);
    }
}

#[cfg(unix)]
#[tokio::test]
#[ignore = "the process of another test"]
async fn a_process_of_systemd() {
    if std::env::var("LISTEN_FDS").is_err() {
        return;
    }
    let manager = manager(&TestServer::new(), json!({})).await;
    let gateway = Gateway::builder(manager).admin(|admin| admin);
    let gateway = gateway.build().unwrap();
    let listeners = gateway.inherited().unwrap();
    assert_eq!(listeners.len(), 1);
    let app = gateway.app();
    gateway
        .serve_app(listeners, app, std::future::pending())
        .await;
}
