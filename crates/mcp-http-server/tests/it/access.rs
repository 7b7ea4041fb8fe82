//! Host and origin checks, tokens and CORS, as a listener for pages of other sites composes them.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::post,
};
use mcp_http_server::{HostCheck, Token, Tokens};
use tower_http::cors::CorsLayer;

use crate::common::Served;

const APP: &str = "https://app.example.com";

async fn check(
    State(access): State<Arc<(HostCheck, Tokens)>>,
    mut request: Request,
    next: Next,
) -> Response {
    let (hosts, tokens) = &*access;
    if hosts.check_host(&request).is_err() || hosts.check_origin(&request).is_err() {
        return StatusCode::FORBIDDEN.into_response();
    }
    match tokens.authenticate(request.headers()) {
        Ok(holder) => {
            let holder = holder.to_owned();
            request.extensions_mut().insert(holder);
            next.run(request).await
        }
        Err(_) => StatusCode::UNAUTHORIZED.into_response(),
    }
}

fn router() -> Router {
    let mut hosts = HostCheck::new();
    hosts.allow_origin(APP);
    let mut tokens = Tokens::new();
    for holder in ["alice", "bob"] {
        let token = Token::new(format!("the-token-of-{holder}"));
        tokens = tokens.with(holder, token.unwrap());
    }
    let cors = CorsLayer::new()
        .allow_origin(HeaderValue::from_static(APP))
        .allow_methods([Method::POST])
        .allow_headers([header::AUTHORIZATION])
        .expose_headers([header::WWW_AUTHENTICATE]);
    let holder = async |axum::Extension(holder): axum::Extension<String>| holder;
    Router::new()
        .route("/", post(holder))
        .layer(from_fn_with_state(Arc::new((hosts, tokens)), check))
        .layer(cors)
}

async fn ask(served: &Served, method: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    served.ask(&format!("{head}\r\n")).await
}

#[tokio::test]
async fn a_preflight_is_answered_before_authentication_and_only_for_listed_origins() {
    let served = Served::start(router(), |server| server).await;
    for (origin, allowed) in [(APP, true), ("https://evil.example.com", false)] {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization"),
        ];
        let response = ask(&served, "OPTIONS", &headers).await;
        let grants = format!("access-control-allow-origin: {origin}");
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        assert_eq!(response.contains(&grants), allowed, "{response}");
    }
    served.end().await;
}

#[tokio::test]
async fn each_holder_is_known_by_its_token_and_other_pages_are_refused() {
    let served = Served::start(router(), |server| server).await;
    let alice = ("Authorization", "Bearer the-token-of-alice");
    let bob = ("Authorization", "Bearer the-token-of-bob");
    for (headers, status, body) in [
        (&[alice][..], "200", "alice"),
        (&[bob, ("Origin", APP)], "200", "bob"),
        (&[("Origin", APP)], "401", ""),
        (&[bob, ("Origin", "https://evil.example.com")], "403", ""),
    ] {
        let response = ask(&served, "POST", headers).await;
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{response}"
        );
        assert!(response.ends_with(body), "{response}");
    }
    served.end().await;
}
