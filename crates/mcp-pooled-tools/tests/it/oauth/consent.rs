//! Consents of a user: when one is requested, with which scope, and who receives the token.

use super::*;

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
        let reported = error.contains(&evil.0.origin) && error.contains("set `issuer`");
        assert!(reported && !error.contains("robot-secret"), "{error}");
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
