//! Pages in browsers, and the names of this service.

use std::path::Path;

use axum::{Router, response::Html, routing::get};
use mcp_testkit::TestServer;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command};

use crate::common::{
    LONG,
    edge::{ANN, request, served, two_tokens},
    raw,
};

const APP: &str = "https://app.example.com";

#[tokio::test]
async fn pain_46_a_preflight_is_answered_before_authentication_for_listed_origins_alone() {
    let settings = json!({ "tokens": two_tokens(), "allowed_origins": [APP] });
    let gateway = served(&TestServer::new(), settings).await;
    let preflight = async |origin: &str| {
        let http = Client::new();
        let asked = http
            .request(Method::OPTIONS, gateway.url())
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,mcp-protocol-version",
            );
        asked.send().await.unwrap()
    };
    let allowed = preflight(APP).await;
    assert_eq!(allowed.status(), StatusCode::NO_CONTENT);
    let headers = allowed.headers();
    assert_eq!(headers["access-control-allow-origin"], APP);
    assert_eq!(
        headers["access-control-allow-headers"],
        "authorization,mcp-protocol-version"
    );
    assert_eq!(headers["access-control-allow-methods"], "GET, POST, DELETE");
    let refused = preflight("https://evil.example").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(
        !refused
            .headers()
            .contains_key("access-control-allow-origin")
    );

    // A script must be able to read the challenge as well.
    for (token, status) in [(ANN, StatusCode::OK), ("wrong", StatusCode::UNAUTHORIZED)] {
        let sent = request(&gateway, token, "tools/list", json!({})).header("origin", APP);
        let response = sent.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["access-control-allow-origin"], APP);
        let exposed = response.headers()["access-control-expose-headers"]
            .to_str()
            .unwrap();
        for name in ["Mcp-Session-Id", "Mcp-Protocol-Version", "WWW-Authenticate"] {
            assert!(exposed.contains(name), "{exposed}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_foreign_origin_or_host_is_refused_before_anything_else() {
    let server = TestServer::new();
    let settings = json!({
        "public_url": "https://mcp.example.com", "allowed_hosts": ["pool.internal"], "insecure": true,
    });
    let gateway = served(&server, settings).await;
    let status = async |name: &str, value: &str| {
        let http = Client::new();
        let sent = raw::modern_request(&http, &gateway.url(), 1, "tools/list", json!({}));
        sent.header(name, value).send().await.unwrap().status()
    };
    for evil in ["https://evil.example", "null", "http://localhost:3000"] {
        assert_eq!(
            status("origin", evil).await,
            StatusCode::FORBIDDEN,
            "{evil}"
        );
    }
    assert_eq!(status("host", "evil.example").await, StatusCode::FORBIDDEN);
    for host in ["mcp.example.com", "pool.internal:80", "localhost:1"] {
        assert_eq!(status("host", host).await, StatusCode::OK, "{host}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_page_at_another_port_or_scheme_is_foreign_and_one_of_the_gateway_itself_is_not() {
    let settings = json!({
        "listen": "127.0.0.1:9888", "public_url": "https://mcp.example.com", "insecure": true,
    });
    let gateway = served(&TestServer::new(), settings).await;
    let port = gateway.address.port();
    let status = async |host: &str, origin: &str| {
        let http = Client::new();
        let sent = raw::modern_request(&http, &gateway.url(), 1, "tools/list", json!({}));
        let sent = sent.header("host", host).header("origin", origin);
        sent.send().await.unwrap().status()
    };
    let (own, local) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"));
    for (host, origin) in [
        (&*own, "http://127.0.0.1:5173"),
        (&own, "http://127.0.0.1"),
        (&own, "http://mcp.example.com"),
        (&own, "https://mcp.example.com:8443"),
        ("mcp.example.com", "http://mcp.example.com"),
    ] {
        let refused = status(host, origin).await;
        assert_eq!(refused, StatusCode::FORBIDDEN, "{origin} at {host}");
    }
    for (host, origin) in [
        (&*own, &*format!("http://{own}")),
        (&local, &format!("http://{local}")),
        (&own, "https://mcp.example.com"),
        ("mcp.example.com", "https://mcp.example.com"),
    ] {
        let accepted = status(host, origin).await;
        assert_eq!(accepted, StatusCode::OK, "{origin} at {host}");
    }
    gateway.stop().await;
}

/// A page at a port of its own, which is another origin than the gateway's.
async fn page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route(
        "/",
        get(async || Html("<!doctype html><title>page</title>")),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// What a script of the page at `at` could do, in a real browser.
async fn seen_from(at: &str, gateway: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/cors.mjs");
    let output = Command::new("node")
        .args([script, at, gateway, ANN])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(6 * LONG, output)
        .await
        .unwrap()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Chromium and playwright-core are not part of this repository: `.ci/run` installs them and names the place in
/// `POOL_TEST_PLAYWRIGHT`. With `POOL_TEST_BROWSER=required` the test fails where they are missing.
#[tokio::test]
async fn a_browser_lets_pages_of_listed_origins_in_and_keeps_others_out() {
    if std::env::var_os("POOL_TEST_PLAYWRIGHT").is_none()
        || !Path::new("/usr/bin/chromium").exists()
    {
        let required = std::env::var("POOL_TEST_BROWSER").is_ok_and(|value| value == "required");
        assert!(!required, "there is no browser");
        return eprintln!("skipped: there is no browser");
    }
    let (listed, other) = (page().await, page().await);
    let settings = json!({ "tokens": two_tokens(), "allowed_origins": [listed] });
    let gateway = served(&TestServer::new(), settings).await;
    let seen = seen_from(&listed, &gateway.url()).await;
    assert_eq!(
        seen["right"],
        json!({
            "status": 200, "session": true, "challenge": null, "ping": 200, "modern": 200, "end": 204,
        })
    );
    assert_eq!(seen["wrong"]["status"], 401);
    let challenge = seen["wrong"]["challenge"].as_str().unwrap();
    assert!(
        challenge.starts_with("Bearer error=\"invalid_token\""),
        "{challenge}"
    );
    let seen = seen_from(&other, &gateway.url()).await;
    assert_eq!(seen["right"], json!({ "error": "TypeError" }));
    gateway.stop().await;
}
