//! Tokens of an authorization server, over sockets: when they are granted, refreshed and refused.

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

/// A user who consents as often as the semaphore lets them, and what they were asked.
#[derive(Clone)]
struct User {
    asked: Arc<Mutex<Vec<ConsentRequest>>>,
    patience: Arc<Semaphore>,
}

impl User {
    fn willing() -> Self {
        Self::of_patience(Semaphore::MAX_PERMITS)
    }

    fn of_patience(consents: usize) -> Self {
        Self {
            asked: Arc::default(),
            patience: Arc::new(Semaphore::new(consents)),
        }
    }

    fn code(&self) -> AuthorizationCode {
        let user = self.clone();
        AuthorizationCode::new("http://localhost:3000/callback", move |consent| {
            let user = user.clone();
            async move { user.consent(consent).await }
        })
    }

    async fn consent(&self, consent: ConsentRequest) -> Result<Redirect, SourceError> {
        self.asked.lock().push(consent.clone());
        self.patience.acquire().await.unwrap().forget();
        let state = consent
            .url
            .split('&')
            .find_map(|pair| pair.strip_prefix("state="));
        let redirect = Redirect::new("the-code", state.expect("a state"));
        Ok(redirect.issuer(consent.issuer.expect("an issuer")))
    }

    fn asked(&self) -> Vec<ConsentRequest> {
        self.asked.lock().clone()
    }
}

/// An MCP server that wants one scope for everything, and another one for the tool, and believes that the n-th token has
/// the scopes of the n-th consent.
async fn guarded(authority: &Authority, user: &User, of_the_tool: &'static str) -> ScriptedHttp {
    let metadata = format!(
        "{}/.well-known/oauth-protected-resource/mcp",
        authority.0.origin
    );
    let user = user.clone();
    ScriptedHttp::start(move |asked| {
        let token = asked.header("authorization").and_then(|value| value.strip_prefix("Bearer token-"));
        let number = token.and_then(|token| token.split('-').next()?.parse::<usize>().ok());
        let Some(number) = number else {
            let challenge = format!(r#"Bearer scope="read", resource_metadata="{metadata}""#);
            return Some(Answer::status(401, "").header("WWW-Authenticate", &challenge));
        };
        let scopes = user.asked.lock()[number - 1].scopes.clone();
        let lacks = asked.method() == "tools/call" && !scopes.iter().any(|scope| scope == of_the_tool);
        lacks.then(|| {
            let challenge = format!(
                r#"Bearer error="insufficient_scope", scope="{of_the_tool}", resource_metadata="{metadata}""#
            );
            Answer::status(403, "").header("WWW-Authenticate", &challenge)
        })
    })
    .await
}

async fn tools_as(
    source: OAuth,
    server: &ScriptedHttp,
    settings: PoolSettings,
) -> (mcp_pooled_tools::ConnectionManager, PooledTools) {
    let manager = manager(ServerConfig::http(server.url()), settings).await;
    let tools = manager.tools("test").unwrap();
    let tools = tools.with_identity(identity("user", source));
    (manager, tools)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_asked_once_for_the_scope_of_the_challenge_and_all_calls_go_on() {
    let authority = Authority::start(3600, |_| {}).await;
    let user = User::willing();
    let server = guarded(&authority, &user, "read").await;
    let source = OAuth::authorization_code(authority.resource(), user.code());
    let (manager, tools) = tools_as(source, &server, PoolSettings::new()).await;
    let mut calls = JoinSet::new();
    for _ in 0..8 {
        let tools = tools.clone();
        calls.spawn(async move { tools.call("echo", json!({"message": "hello"})).await });
    }
    while let Some(reply) = calls.join_next().await {
        reply.unwrap().unwrap();
    }
    let [consent] = &user.asked()[..] else {
        panic!("asked once, not {:?}", user.asked());
    };
    assert_eq!(consent.scopes, ["read"]);
    assert_eq!(consent.issuer.as_ref(), Some(&authority.0.origin));
    assert_eq!(consent.previous_issuer, None);
    assert!(
        consent.url.contains("code_challenge_method=S256"),
        "{}",
        consent.url
    );
    assert_eq!(authority.0.registered.load(Ordering::Relaxed), 1);
    {
        let asked = authority.0.asked.lock();
        assert_eq!(asked[0]["code"], "the-code");
        assert!(asked[0].contains_key("code_verifier"));
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn more_scope_is_asked_for_beside_what_was_granted_and_the_call_is_made_again() {
    let authority = Authority::start(3600, |_| {}).await;
    let user = User::willing();
    let server = guarded(&authority, &user, "write").await;
    let source = OAuth::authorization_code(authority.resource(), user.code());
    let (manager, tools) = tools_as(source, &server, PoolSettings::new()).await;
    tools
        .call("echo", json!({"message": "hello"}))
        .await
        .unwrap();
    let asked: Vec<_> = user
        .asked()
        .into_iter()
        .map(|consent| consent.scopes)
        .collect();
    assert_eq!(asked, [vec!["read"], vec!["read", "write"]]);
    assert_eq!(authority.0.registered.load(Ordering::Relaxed), 1);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_scope_that_consent_does_not_bring_is_not_asked_for_again_and_the_rest_goes_on() {
    let authority = Authority::start(3600, |_| {}).await;
    let user = User::of_patience(1);
    let server = guarded(&authority, &user, "write").await;
    let declines = {
        let user = user.clone();
        AuthorizationCode::new("http://localhost:3000/callback", move |consent| {
            let user = user.clone();
            async move {
                if user.patience.available_permits() == 0 {
                    user.asked.lock().push(consent);
                    return Redirect::from_url("/callback?error=access_denied");
                }
                user.consent(consent).await
            }
        })
    };
    let source = OAuth::authorization_code(authority.resource(), declines);
    let (manager, tools) = tools_as(source, &server, PoolSettings::new()).await;
    for _ in 0..3 {
        let error = tools
            .call("echo", json!({"message": "hello"}))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        let challenge = error.auth_challenge().expect("what is missing");
        assert_eq!(challenge.scope.as_deref(), Some("write"));
        assert_eq!(tools.list_all_tools().await.unwrap().len(), 1);
    }
    assert_eq!(user.asked().len(), 2, "{:?}", user.asked());
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_goes_on_after_the_opening_that_wanted_it_and_then_sessions_open() {
    let authority = Authority::start(3600, |_| {}).await;
    let user = User::of_patience(0);
    let server = guarded(&authority, &user, "read").await;
    let source = OAuth::authorization_code(authority.resource(), user.code());
    let settings = PoolSettings::new().connection_timeout(Duration::from_millis(200));
    let (manager, tools) = tools_as(source, &server, settings).await;
    for _ in 0..2 {
        tools
            .call("echo", json!({"message": "hello"}))
            .await
            .unwrap_err();
    }
    user.patience.add_permits(1);
    let answered = async {
        while tools
            .call("echo", json!({"message": "hello"}))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, answered).await.unwrap();
    assert_eq!(user.asked().len(), 1, "{:?}", user.asked());
    manager.shutdown().await;
}

#[tokio::test]
async fn a_client_secret_is_sent_to_no_authorization_server_that_the_mcp_server_alone_names() {
    let good = Authority::start(3600, |_| {}).await;
    let evil = Authority::start(3600, |_| {}).await;
    *good.0.names.lock() = Some(evil.0.origin.clone());
    let source = || OAuth::client_secret(good.resource(), "robot", "robot-secret", [""; 0]);
    for source in [source(), source().issuer(&good.0.origin)] {
        let error = source.value(Asked::Open).await.unwrap_err().to_string();
        let told = error.contains(&evil.0.origin) && error.contains("set `issuer`");
        assert!(told && !error.contains("robot-secret"), "{error}");
    }
    assert_eq!(evil.0.asked.lock().len(), 0);
    // Where the configuration names it, it is the right one.
    let token = source().issuer(&evil.0.origin).value(Asked::Open).await;
    assert_eq!(token.unwrap(), "Bearer token-1-of-robot");
}

#[tokio::test]
async fn an_authorization_server_that_claims_to_be_the_pinned_one_gets_no_secret() {
    let good = Authority::start(3600, |_| {}).await;
    let evil = Authority::start(3600, |_| {}).await;
    *evil.0.claims.lock() = Some(good.0.origin.clone());
    *good.0.names.lock() = Some(format!("{}/odd/.well-known/metadata", evil.0.origin));
    let source = OAuth::client_secret(good.resource(), "robot", "robot-secret", [""; 0]);
    let token = source.issuer(&good.0.origin).value(Asked::Open).await;
    assert_eq!(token.unwrap(), "Bearer token-1-of-robot");
    assert_eq!(evil.0.asked.lock().len(), 0);
    assert_eq!(good.0.asked.lock().len(), 1);
}

#[tokio::test]
async fn a_refresh_token_goes_to_the_issuer_of_the_consent_alone() {
    let good = Authority::start(3600, |_| {}).await;
    let evil = Authority::start(3600, |_| {}).await;
    let store = consented("refresh-0", 5).await;
    let credentials = store.load().await.unwrap().unwrap();
    let credentials = credentials.with_issuer(Some(good.0.origin.clone()));
    store.save(credentials).await.unwrap();
    *good.0.names.lock() = Some(evil.0.origin.clone());
    let source = OAuth::stored(good.resource(), store.clone());
    let error = source.value(Asked::Open).await.unwrap_err().to_string();
    assert!(
        error.contains(&evil.0.origin) && error.contains(&good.0.origin),
        "{error}"
    );
    assert_eq!(evil.0.asked.lock().len(), 0);
    assert!(
        store.load().await.unwrap().is_some(),
        "the consent is still there"
    );
    *good.0.names.lock() = None;
    source.value(Asked::Open).await.unwrap();
}

#[tokio::test]
async fn another_issuer_is_a_new_consent_and_is_given_nothing_of_the_old_one() {
    let old = Authority::start(3600, |_| {}).await;
    let new = Authority::start(3600, |_| {}).await;
    let user = User::willing();
    let store = InMemoryCredentialStore::new();
    let source = || {
        let source = OAuth::authorization_code(old.resource(), user.code());
        source.store(store.clone())
    };
    let first = source();
    first.value(Asked::Refused).await.unwrap();
    *old.0.names.lock() = Some(new.0.origin.clone());
    first.value(Asked::Refused).await.unwrap();
    let consent = user.asked().pop().unwrap();
    assert_eq!(consent.previous_issuer.as_ref(), Some(&old.0.origin));
    assert_eq!(consent.issuer.as_ref(), Some(&new.0.origin));
    assert_eq!(new.0.registered.load(Ordering::Relaxed), 1);
    assert_eq!(new.grants("refresh_token"), 0);

    // A client of the configuration, with its secret, belongs to the first issuer that was consented at.
    let kept = store.load().await.unwrap().unwrap();
    let client = Some("desktop-secret".to_owned());
    let code = user.code().client(kept.client_id, client);
    let source = OAuth::authorization_code(old.resource(), code).store(store.clone());
    *old.0.names.lock() = None;
    let before = old.0.asked.lock().len();
    source.value(Asked::Open).await.unwrap();
    let error = source.value(Asked::Refused).await.unwrap_err().to_string();
    assert!(
        error.contains("consented at") && error.contains(&new.0.origin),
        "{error}"
    );
    assert_eq!(old.0.asked.lock().len(), before);
}

#[tokio::test]
async fn a_secret_that_the_authorization_server_says_back_is_not_shown() {
    let authority = Authority::start(3600, |_| {}).await;
    let secret = "s3cret/+&=";
    *authority.0.refusal.lock() = Some(format!(
        "client_secret=s3cret%2F%2B%26%3D ({secret}) is not known; refresh-0 neither"
    ));
    let by_secret = OAuth::client_secret(authority.resource(), "robot", secret, [""; 0]);
    let by_refresh = OAuth::stored(authority.resource(), consented("refresh-0", 5).await);
    for (source, hidden) in [(by_secret, "s3cret"), (by_refresh, "refresh-0")] {
        let error = source.value(Asked::Open).await.unwrap_err().to_string();
        assert!(error.contains("is not known"), "{error}");
        assert!(error.contains("***") && !error.contains(hidden), "{error}");
    }
}
