//! Tokens of an authorization server, over sockets: when they are granted, refreshed and refused.

mod consent;

use crate::common;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use common::{LONG, manager, whoami};
use mcp_pooled_tools::{
    ErrorKind, Identity, PoolSettings, PooledTools, ServerConfig,
    breaker::State,
    core::source::{
        Asked, AuthorizationCode, ConsentRequest, OAuth, Redirect, SourceError, ValueSource,
    },
};
use mcp_testkit::{
    HttpOptions, HttpServer,
    scripted_http::{Answer, ScriptedHttp},
};
use parking_lot::Mutex;
use rmcp::transport::auth::{CredentialStore, InMemoryCredentialStore, StoredCredentials};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

/// An authorization server that grants whatever it is asked for. Clones are the same server.
#[derive(Clone)]
struct Authority(Arc<Inner>);

struct Inner {
    origin: String,
    expires_in: u64,
    /// The parameters of every request for a token.
    asked: Mutex<Vec<HashMap<String, String>>>,
    /// The only refresh token that is good.
    refresh: Mutex<String>,
    /// The authorization server that the MCP server names, where it is another one.
    names: Mutex<Option<String>>,
    /// The issuer that it claims to be, where it is another one.
    claims: Mutex<Option<String>>,
    /// What it says to who asks for a token, instead of giving one.
    refusal: Mutex<Option<String>>,
    /// Clients that have registered themselves.
    registered: AtomicUsize,
    /// Told of every token that is issued.
    issued: Box<dyn Fn(&str) + Send + Sync>,
}

impl Authority {
    async fn start(expires_in: u64, issued: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = Self(Arc::new(Inner {
            origin: format!("http://{}", listener.local_addr().unwrap()),
            expires_in,
            asked: Mutex::default(),
            refresh: Mutex::new("refresh-0".into()),
            names: Mutex::default(),
            claims: Mutex::default(),
            refusal: Mutex::default(),
            registered: AtomicUsize::new(0),
            issued: Box::new(issued),
        }));
        let serving = authority.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let authority = serving.clone();
                tokio::spawn(async move { authority.answer(stream).await });
            }
        });
        authority
    }

    /// The MCP server that it is the authority of.
    fn resource(&self) -> String {
        format!("{}/mcp", self.0.origin)
    }

    /// How often it was asked for this kind of grant.
    fn grants(&self, kind: &str) -> usize {
        let asked = self.0.asked.lock();
        asked
            .iter()
            .filter(|form| form["grant_type"] == kind)
            .count()
    }

    async fn answer(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (mut line, mut length) = (String::new(), 0);
        stream.read_line(&mut line).await.unwrap();
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap() <= 2 {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let (status, reply) = self.reply(&path, &String::from_utf8(body).unwrap());
        let reply = reply.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            reply.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(reply.as_bytes()).await.unwrap();
    }

    fn reply(&self, path: &str, body: &str) -> (u16, Value) {
        let origin = &self.0.origin;
        let or_self = |other: &Mutex<Option<String>>| {
            let other = other.lock().clone();
            other.unwrap_or_else(|| origin.clone())
        };
        match path {
            "/.well-known/oauth-protected-resource/mcp" => (
                200,
                json!({"resource": self.resource(), "authorization_servers": [or_self(&self.0.names)]}),
            ),
            "/register" => {
                let number = self.0.registered.fetch_add(1, Ordering::Relaxed) + 1;
                let id = format!("registered-{number}");
                let uris = ["http://localhost:3000/callback"];
                (201, json!({"client_id": id, "redirect_uris": uris}))
            }
            // The latter is nowhere that a standard would put it.
            "/.well-known/oauth-authorization-server" | "/odd/.well-known/metadata" => (
                200,
                json!({
                    "issuer": or_self(&self.0.claims),
                    "authorization_endpoint": format!("{origin}/authorize"),
                    "token_endpoint": format!("{origin}/token"),
                    "registration_endpoint": format!("{origin}/register"),
                    "response_types_supported": ["code"],
                    "code_challenge_methods_supported": ["S256"],
                    "token_endpoint_auth_methods_supported": ["client_secret_post"],
                }),
            ),
            "/token" => self.grant(body),
            _ => (404, json!({"error": "not found"})),
        }
    }

    fn grant(&self, body: &str) -> (u16, Value) {
        let form: HashMap<_, _> = body
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let number = {
            let mut asked = self.0.asked.lock();
            asked.push(form.clone());
            asked.len()
        };
        if let Some(description) = &*self.0.refusal.lock() {
            let error = json!({"error": "invalid_client", "error_description": description});
            return (400, error);
        }
        let mut refresh = self.0.refresh.lock();
        let refreshes = form["grant_type"] == "refresh_token";
        if refreshes && form["refresh_token"] != *refresh {
            return (400, json!({"error": "invalid_grant"}));
        }
        let client = form.get("client_id").map_or("", String::as_str);
        let token = format!("token-{number}-of-{client}");
        (self.0.issued)(&token);
        let mut reply = json!({
            "access_token": token,
            "token_type": "bearer",
            "expires_in": self.0.expires_in,
        });
        if refreshes {
            // As the protocol wants it: each is good once.
            *refresh = format!("refresh-{number}");
            reply["refresh_token"] = refresh.as_str().into();
        }
        (200, reply)
    }
}

fn identity(name: &str, source: OAuth) -> Identity {
    Identity::new(name).header_from("Authorization", Arc::new(source))
}

async fn whose(tools: &PooledTools) -> String {
    let asked = json!({"headers": ["authorization"]});
    let seen = whoami(&tools.call("whoami", asked).await.unwrap());
    seen["headers"]["authorization"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What a user who consented some time ago has in store: an hour's token, of which so many seconds are left.
async fn consented(refresh: &str, left: u64) -> InMemoryCredentialStore {
    const HOUR: u64 = 3600;
    let token = json!({
        "access_token": "token-of-old",
        "token_type": "bearer",
        "expires_in": HOUR,
        "refresh_token": refresh,
    });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let store = InMemoryCredentialStore::new();
    let credentials = StoredCredentials::new(
        "browser-client".into(),
        Some(serde_json::from_value(token).unwrap()),
        Vec::new(),
        Some(now.unwrap().as_secs() - (HOUR - left)),
    );
    store.save(credentials).await.unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_credentials_are_granted_once_and_once_more_after_a_401() {
    let server = Arc::new(HttpServer::start(HttpOptions::default()).await);
    let accepting = Arc::clone(&server);
    let authority = Authority::start(3600, move |token| accepting.accept_only(token)).await;
    let manager = manager(ServerConfig::http(server.url()), PoolSettings::new()).await;
    let source = OAuth::client_secret(authority.resource(), "robot", "robot-secret", ["a", "b"]);
    let shown = format!("{source:?}");
    let tools = manager
        .tools("test")
        .unwrap()
        .with_identity(identity("robot", source));
    for _ in 0..10 {
        assert_eq!(whose(&tools).await, "Bearer token-1-of-robot");
    }
    assert_eq!(authority.grants("client_credentials"), 1);
    {
        let asked = authority.0.asked.lock();
        assert_eq!(asked[0]["client_secret"], "robot-secret");
        assert_eq!(asked[0]["scope"], "a+b");
        assert!(asked[0]["resource"].ends_with("%2Fmcp"), "{:?}", asked[0]);
    }

    server.accept_only("revoked");
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let tools = tools.clone();
        calls.spawn(async move { whose(&tools).await });
    }
    while let Some(token) = calls.join_next().await {
        assert_eq!(token.unwrap(), "Bearer token-2-of-robot");
    }
    assert_eq!(authority.grants("client_credentials"), 2);
    let status = serde_json::to_string(&manager.status()).unwrap();
    let shown = format!("{shown} {tools:?} {status}");
    assert!(
        !shown.contains("secret") && !shown.contains("token-"),
        "{shown}"
    );
    manager.shutdown().await;
}

#[tokio::test]
async fn a_token_is_kept_until_it_is_about_to_expire() {
    for (expires_in, grants) in [(3600, 1), (0, 3)] {
        let authority = Authority::start(expires_in, |_| {}).await;
        let source = OAuth::client_secret(authority.resource(), "robot", "secret", [""; 0]);
        for _ in 0..3 {
            source.value(Asked::Open).await.unwrap();
        }
        assert_eq!(authority.grants("client_credentials"), grants);
        source.value(Asked::Refused).await.unwrap();
        assert_eq!(authority.grants("client_credentials"), grants + 1);
    }
}

#[tokio::test]
async fn a_store_that_outlives_its_source_spares_a_grant_and_is_not_another_clients() {
    let authority = Authority::start(3600, |_| {}).await;
    let store = InMemoryCredentialStore::new();
    let source = |client: &str| {
        let source = OAuth::client_secret(authority.resource(), client, "secret", [""; 0]);
        source.store(store.clone())
    };
    let first = source("one").value(Asked::Open).await.unwrap();
    assert_eq!(source("one").value(Asked::Open).await.unwrap(), first);
    assert_eq!(authority.grants("client_credentials"), 1);
    let other = source("two").value(Asked::Open).await.unwrap();
    assert_eq!(other, "Bearer token-2-of-two");
}

#[tokio::test]
async fn consent_in_store_is_refreshed_and_put_back() {
    // Expired, and merely refused.
    for (left, asked) in [(5, Asked::Open), (3600, Asked::Refused)] {
        let authority = Authority::start(3600, |_| {}).await;
        let store = consented("refresh-0", left).await;
        let source = OAuth::stored(authority.resource(), store.clone());
        if asked == Asked::Refused {
            let old = source.value(Asked::Open).await.unwrap();
            assert_eq!(old, "Bearer token-of-old");
        }
        for number in 1..=2 {
            let token = source.value(if number == 1 { asked } else { Asked::Refused });
            let token = token.await.unwrap();
            assert!(
                token.starts_with(&format!("Bearer token-{number}-of-")),
                "{token}"
            );
            assert_eq!(authority.grants("refresh_token"), number);
        }
        let kept = serde_json::to_value(store.load().await.unwrap().unwrap()).unwrap();
        assert_eq!(kept["token_response"]["refresh_token"], "refresh-2");
    }
}

#[tokio::test]
async fn consent_that_was_withdrawn_or_never_given_is_an_authentication_error() {
    let server = HttpServer::start(HttpOptions::default()).await;
    let authority = Authority::start(3600, |_| {}).await;
    let manager = manager(ServerConfig::http(server.url()), PoolSettings::new()).await;
    for store in [
        consented("withdrawn", 5).await,
        InMemoryCredentialStore::new(),
    ] {
        let source = OAuth::stored(authority.resource(), store);
        let tools = manager
            .tools("test")
            .unwrap()
            .with_identity(identity("one", source));
        let error = tools.call("whoami", json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        let shown = error.to_string();
        assert!(
            shown.starts_with("server `test`: no value for header `authorization`: OAuth: ")
                && shown.contains("authorize again"),
            "{shown}"
        );
    }
    assert_eq!(server.requests(), 0);
    let status = manager.status();
    let closed = |state| state == State::Closed;
    let mut pools = status.servers[0].pools.iter();
    assert!(pools.all(|pool| closed(pool.circuit_breaker_state)));
    manager.shutdown().await;
}

#[tokio::test]
async fn each_identity_has_tokens_of_its_own() {
    let server = HttpServer::start(HttpOptions::default()).await;
    let authority = Authority::start(3600, |_| {}).await;
    let manager = manager(ServerConfig::http(server.url()), PoolSettings::new()).await;
    let stores = [
        InMemoryCredentialStore::new(),
        InMemoryCredentialStore::new(),
    ];
    let tools = ["alice", "bob"].map(|who| {
        let store = stores[usize::from(who == "bob")].clone();
        let source = OAuth::client_secret(authority.resource(), who, "secret", [""; 0]);
        let tools = manager.tools("test").unwrap();
        tools.with_identity(identity(who, source.store(store)))
    });
    for _ in 0..2 {
        assert_eq!(whose(&tools[0]).await, "Bearer token-1-of-alice");
        assert_eq!(whose(&tools[1]).await, "Bearer token-2-of-bob");
    }
    for (store, who) in stores.iter().zip(["alice", "bob"]) {
        let kept = store.load().await.unwrap().unwrap();
        assert_eq!(kept.client_id, who);
    }
    manager.shutdown().await;
}
