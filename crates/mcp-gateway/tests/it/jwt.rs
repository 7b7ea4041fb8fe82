//! Who is let in: JWTs of an identity provider.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use axum::{Json, Router, routing::get};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use mcp_testkit::TestServer;
use reqwest::{Client, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::common::{
    Served,
    edge::{ANN, request, served},
};

const ISSUER: &str = "https://id.example.com";
const AUDIENCE: &str = "https://mcp.example.com/mcp";

/// A key of an issuer.
struct Key {
    id: &'static str,
    signing: EncodingKey,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let signing = EncodingKey::from_ec_der(pair.serialized_der());
        Self { id, signing }
    }

    fn public(&self) -> Jwk {
        let mut key = Jwk::from_encoding_key(&self.signing, Algorithm::ES256).unwrap();
        key.common.key_id = Some(self.id.to_owned());
        key
    }

    /// A token that is good, but for `changes`.
    fn token(&self, changes: Value) -> String {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 600 });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = match value.as_str() {
                Some("past") => json!(now - 600),
                Some("future") => json!(now + 500),
                _ => value.clone(),
            };
        }
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.to_owned());
        encode(&header, &claims, &self.signing).unwrap()
    }
}

/// An issuer's keys at an address, and how often they were fetched.
async fn keys_at(keys: Vec<Jwk>) -> (String, Arc<AtomicUsize>) {
    let fetched = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let count = Arc::clone(&fetched);
    let answer = move || async move {
        count.fetch_add(1, Ordering::Relaxed);
        Json(JwkSet { keys })
    };
    let router = Router::new().route("/jwks", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, fetched)
}

async fn start(keys: &str) -> Served {
    let settings = json!({
        "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_keys": keys,
        "tokens": { "ann": ANN }, "public_url": "https://mcp.example.com",
    });
    served(&TestServer::new(), settings).await
}

async fn send(gateway: &Served, token: &str) -> (StatusCode, HeaderMap) {
    let sent = request(gateway, token, "tools/list", json!({}))
        .send()
        .await
        .unwrap();
    (sent.status(), sent.headers().clone())
}

#[tokio::test]
async fn a_token_is_accepted_only_with_the_issuers_signature_for_this_audience_and_in_its_time() {
    let (key, other) = (Key::new("k1"), Key::new("k1"));
    let (url, fetched) = keys_at(vec![key.public()]).await;
    let gateway = start(&url).await;
    assert_eq!(
        send(&gateway, &key.token(json!({}))).await.0,
        StatusCode::OK
    );
    assert_eq!(
        send(&gateway, ANN).await.0,
        StatusCode::OK,
        "static tokens go on"
    );
    let two = key.token(json!({ "aud": ["https://other.example.com", AUDIENCE] }));
    assert_eq!(send(&gateway, &two).await.0, StatusCode::OK);
    let good = key.token(json!({}));
    let (head, _) = good.split_once('.').unwrap();
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    let tampered = {
        let foreign = key.token(json!({ "sub": "admin" }));
        let parts: Vec<_> = foreign.split('.').collect();
        format!("{head}.{}.{}", parts[1], good.rsplit('.').next().unwrap())
    };
    let symmetric = {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("k1".to_owned());
        let public = serde_json::to_vec(&key.public()).unwrap();
        let claims =
            json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": 4_000_000_000_u64 });
        encode(&header, &claims, &EncodingKey::from_secret(&public)).unwrap()
    };
    for (refused, why) in [
        (other.token(json!({})), "the token's signature is wrong"),
        (tampered, "the token's signature is wrong"),
        (key.token(json!({ "exp": "past" })), "the token has expired"),
        (
            key.token(json!({ "nbf": "future" })),
            "the token is not valid yet",
        ),
        (
            key.token(json!({ "aud": "https://other.example.com" })),
            "the token is for another audience",
        ),
        (
            key.token(json!({ "iss": "https://evil.example" })),
            "the token is of another issuer",
        ),
        (
            key.token(json!({ "aud": null })),
            "the token is not a valid JWT",
        ),
        (
            key.token(json!({ "sub": null })),
            "the token is not a valid JWT",
        ),
        (symmetric, "the token's algorithm is not accepted"),
        (unsigned, "the token is not known"),
    ] {
        let (status, headers) = send(&gateway, &refused).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{why}");
        let challenge = headers["www-authenticate"].to_str().unwrap();
        assert_eq!(
            challenge,
            format!(
                "Bearer resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\", \
                 error=\"invalid_token\", error_description=\"{why}\""
            )
        );
    }
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn forged_key_ids_do_not_have_the_gateway_knock_at_the_issuers_door() {
    let key = Key::new("k1");
    let (url, fetched) = keys_at(vec![key.public()]).await;
    let gateway = start(&url).await;
    for _ in 0..20 {
        let forged = Key::new("k2").token(json!({}));
        assert_eq!(send(&gateway, &forged).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(
        send(&gateway, &key.token(json!({}))).await.0,
        StatusCode::OK
    );
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn an_issuer_that_is_away_is_no_fault_of_the_token() {
    let gateway = start("/nowhere/jwks.json").await;
    let (status, headers) = send(&gateway, &Key::new("k1").token(json!({}))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key("retry-after"));
    gateway.stop().await;
}

#[tokio::test]
async fn pain_45_the_metadata_is_at_the_root_and_where_the_path_is_inserted() {
    let gateway = start("/nowhere/jwks.json").await;
    let base = format!(
        "http://{}/.well-known/oauth-protected-resource",
        gateway.address
    );
    let http = Client::new();
    for (path, resource) in [
        ("", "https://mcp.example.com"),
        ("/mcp", "https://mcp.example.com/mcp"),
        ("/mcp/s/test", "https://mcp.example.com/mcp/s/test"),
    ] {
        let found = http.get(format!("{base}{path}")).send().await.unwrap();
        assert_eq!(found.status(), StatusCode::OK, "{path}");
        let metadata: Value = found.json().await.unwrap();
        assert_eq!(metadata["resource"], resource);
        assert_eq!(metadata["authorization_servers"], json!([ISSUER]));
    }
    let foreign = http.get(format!("{base}/elsewhere")).send().await.unwrap();
    assert_eq!(foreign.status(), StatusCode::NOT_FOUND);
    gateway.stop().await;
    let without = served(&TestServer::new(), json!({ "tokens": { "ann": ANN } })).await;
    let base = format!(
        "http://{}/.well-known/oauth-protected-resource",
        without.address
    );
    let found = http.get(base).send().await.unwrap();
    assert_eq!(
        found.status(),
        StatusCode::NOT_FOUND,
        "there is no issuer to lead to"
    );
    without.stop().await;
}
