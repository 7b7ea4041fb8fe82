//! Access: tokens, hosts, pages of other sites, and request limits.

use crate::common;
use axum::Router;
use common::{Served, TOKEN, in_process, token};
use mcp_admin::{Admin, Error, Token};
use mcp_pooled_tools::{ConnectionManager, PoolSettings};
use mcp_testkit::TestServer;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;

const CHANGES: [&str; 3] = ["health-check", "reset", "drain"];

async fn manager() -> ConnectionManager {
    in_process(&TestServer::new(), PoolSettings::new()).await
}

/// Every path of the document that is read, and every one that changes something.
async fn paths(served: &Served) -> (Vec<String>, Vec<String>) {
    let (_, document) = served.get("/api/v1/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    let of = |method: &str| {
        let of_method = paths.iter().filter(|(_, item)| item.get(method).is_some());
        of_method
            .map(|(path, _)| path.replace("{server}", "test"))
            .collect::<Vec<_>>()
    };
    let (read, mut changed) = (of("get"), of("post"));
    assert_eq!(changed.len(), CHANGES.len() + 1);
    for path in changed.iter_mut().filter(|path| path.ends_with("/silence")) {
        path.push_str("?server=test&kind=crash_loop");
    }
    (read, changed)
}

async fn status(served: &Served, method: Method, path: &str, bearer: Option<&str>) -> StatusCode {
    let mut request = served.request(method, path);
    if let Some(bearer) = bearer {
        request = request.bearer_auth(bearer);
    }
    // Not read: one is a stream.
    let response = request.send().await.unwrap();
    if response.status() == StatusCode::UNAUTHORIZED {
        assert!(
            response.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer")
        );
    }
    response.status()
}

#[tokio::test]
async fn where_there_is_a_token_changes_need_it_and_reading_does_not() {
    let served = Served::start(manager().await, |admin| admin.token(token())).await;
    let (read, changed) = paths(&served).await;
    for path in &read {
        assert_eq!(
            status(&served, Method::GET, path, None).await,
            200,
            "{path}"
        );
    }
    for path in &changed {
        assert_eq!(
            status(&served, Method::POST, path, None).await,
            401,
            "{path}"
        );
        let wrong = "a-token-that-nobody-guessed";
        assert_eq!(
            status(&served, Method::POST, path, Some(wrong)).await,
            401,
            "{path}"
        );
        assert_eq!(
            status(&served, Method::POST, path, Some(TOKEN)).await,
            200,
            "{path}"
        );
    }
    let (code, problem) = served.post("/api/v1/mcp/pools/test/reset").await;
    assert_eq!(code, StatusCode::UNAUTHORIZED);
    let problem = problem.to_string();
    assert!(
        problem.contains("Authorization: Bearer") && !problem.contains(TOKEN),
        "{problem}"
    );
    // Without access there is no hint at what exists.
    assert_eq!(
        status(
            &served,
            Method::POST,
            "/api/v1/mcp/pools/nobody/reset",
            None
        )
        .await,
        401
    );
    served.end().await;
}

#[tokio::test]
async fn reading_can_be_closed_too_but_not_whether_it_lives() {
    let served = Served::start(manager().await, |admin| {
        admin.token(token()).open_reads(false)
    })
    .await;
    let (read, _) = paths(&served).await;
    for path in &read {
        let always = ["/healthz", "/readyz"].contains(&&**path);
        let expected = if always { 200 } else { 401 };
        assert_eq!(
            status(&served, Method::GET, path, None).await,
            expected,
            "{path}"
        );
        assert_eq!(
            status(&served, Method::GET, path, Some(TOKEN)).await,
            200,
            "{path}"
        );
    }
    for page in ["/", "/dashboard.js", "/dashboard.css"] {
        assert_eq!(
            status(&served, Method::GET, page, None).await,
            200,
            "{page}"
        );
    }
    served.end().await;
}

#[tokio::test]
async fn what_others_can_reach_is_not_served_without_a_token() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let admin = Admin::new(manager().await).address(address);
        let error = admin.clone().bind().await.unwrap_err();
        assert!(matches!(error, Error::Unprotected { .. }), "{error:?}");
        assert!(error.to_string().contains("set a token"), "{error}");
        // With one it is, and then reading needs it, too.
        drop(admin.token(token()).bind().await.unwrap());
    }
    let served = Served::start(manager().await, |admin| {
        admin.token(token()).address("0.0.0.0:0")
    })
    .await;
    let local = format!("http://127.0.0.1:{}", served.address.port());
    for (path, expected) in [
        ("/metrics", 401),
        ("/api/v1/mcp/status", 401),
        ("/healthz", 200),
    ] {
        let response = reqwest::get(format!("{local}{path}")).await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
    }
    served.end().await;
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for address in [address.as_str(), "nowhere.invalid:1", "127.0.0.1"] {
        let error = Admin::new(manager().await)
            .address(address)
            .bind()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Bind { .. }), "{error:?}");
        assert!(error.to_string().contains(address), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[tokio::test]
async fn a_token_that_can_be_guessed_is_refused() {
    let error = Token::new("1234").unwrap_err();
    assert!(error.to_string().contains("at least 16"), "{error}");
    assert!(!error.to_string().contains("1234"), "{error}");
}

#[tokio::test]
async fn names_of_others_are_refused_on_every_route() {
    let served = Served::start(manager().await, |admin| {
        admin.allow_host("pool.example.com")
    })
    .await;
    let (read, changed) = paths(&served).await;
    let all = read.iter().map(|path| (Method::GET, path));
    for (method, path) in all.chain(changed.iter().map(|path| (Method::POST, path))) {
        let request = served
            .request(method, path)
            .header("host", "evil.example.com");
        let (code, problem) = common::json(request).await;
        assert_eq!(code, StatusCode::FORBIDDEN, "{path}");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("evil.example.com"),
            "{problem}"
        );
    }
    for (host, taken) in [
        ("pool.example.com", true),
        ("POOL.example.com:9888", true),
        ("localhost:1", true),
        ("10.0.0.1", true),
        ("pool.example.com.evil.example.com", false),
    ] {
        let request = served.request(Method::GET, "/healthz").header("host", host);
        let code = request.send().await.unwrap().status();
        assert_eq!(code == StatusCode::OK, taken, "{host}");
    }
    let nameless = served.raw("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(nameless.starts_with("HTTP/1.0 200"), "{nameless}");
    served.end().await;
}

#[tokio::test]
async fn pages_from_elsewhere_change_nothing() {
    let served = Served::start(manager().await, |admin| admin).await;
    let (_, changed) = paths(&served).await;
    let own = served.url("");
    for path in &changed {
        for (origin, expected) in [
            (own.as_str(), 200),
            ("http://evil.example.com", 403),
            ("null", 403),
        ] {
            let request = served.request(Method::POST, path).header("origin", origin);
            let code = request.send().await.unwrap().status();
            assert_eq!(code, expected, "{origin}: {path}");
        }
    }
    served.end().await;
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let served = Served::start(manager().await, |admin| admin.token(token())).await;
    for action in CHANGES {
        let path = format!("/api/v1/mcp/pools/test/{action}");
        for (size, expected) in [
            (0, 200),
            (2, 200),
            (16 * 1024, 200),
            (16 * 1024 + 1, 413),
            (1 << 20, 413),
        ] {
            let request = served
                .request(Method::POST, &path)
                .bearer_auth(TOKEN)
                .body(vec![b' '; size]);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), expected, "{action} with {size}");
        }
        // Nor when it comes in pieces, and its size is not said.
        let pieces =
            futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024])));
        let body = reqwest::Body::wrap_stream(pieces);
        let request = served
            .request(Method::POST, &path)
            .bearer_auth(TOKEN)
            .body(body);
        assert_eq!(request.send().await.unwrap().status(), 413, "{action}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_router_mounted_in_an_application_shows_nothing_without_a_token_until_reading_is_opened()
{
    let bare = Admin::new(manager().await);
    let open = bare.clone().open_reads(true);
    let kept = Admin::new(manager().await).token(token());
    let opened = kept.clone().open_reads(true);
    let app = Router::new()
        .route("/", axum::routing::get(async || "the application"))
        .nest("/bare", bare.router())
        .nest("/open", open.router())
        .nest_service("/kept", kept.router())
        .nest_service("/opened", opened.router());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let client = reqwest::Client::new();
    let reset = "api/v1/mcp/pools/test/reset";
    for (path, bearer, expected) in [
        (format!("bare/{reset}"), None, 403),
        (format!("open/{reset}"), None, 403),
        (format!("open/{reset}"), Some(TOKEN), 403),
        (format!("kept/{reset}"), None, 401),
        (format!("kept/{reset}"), Some(TOKEN), 200),
    ] {
        let mut request = client.post(format!("{at}/{path}"));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        assert_eq!(
            request.send().await.unwrap().status(),
            expected,
            "{path} {bearer:?}"
        );
    }
    for (path, bearer, expected) in [
        ("bare/metrics", None, 403),
        ("bare/api/v1/mcp/status", Some(TOKEN), 403),
        ("bare/healthz", None, 200),
        ("open/metrics", None, 200),
        ("kept/metrics", None, 401),
        ("kept/metrics", Some(TOKEN), 200),
        ("kept/healthz", None, 200),
        ("opened/metrics", None, 200),
    ] {
        let mut request = client.get(format!("{at}/{path}"));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        let status = request.send().await.unwrap().status();
        assert_eq!(status, expected, "{path} {bearer:?}");
    }
    for (method, expected) in [(Method::GET, 404), (Method::POST, 404)] {
        let response = client.request(method, format!("{at}/open/nowhere")).send();
        let response = response.await.unwrap();
        assert_eq!(response.status(), expected);
        let problem = response.text().await.unwrap();
        assert!(problem.contains("nothing at /open/nowhere"), "{problem}");
        assert!(problem.contains("/open/api/v1/openapi.json"), "{problem}");
    }
    let get = async |path: &str| {
        let response = client.get(format!("{at}/{path}")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    };
    assert_eq!(get("").await, "the application");
    for (page, base) in [("open", "./open/"), ("kept", "./kept/"), ("kept/", "./")] {
        let page = get(page).await;
        assert!(page.contains(&format!("<base href=\"{base}\">")), "{page}");
    }
    let document: Value = serde_json::from_str(&get("open/api/v1/openapi.json").await).unwrap();
    assert_eq!(document["servers"][0]["url"], "/open");
    assert!(
        get("open/metrics")
            .await
            .contains("mcp_pool_max_connections")
    );
    serving.abort();
}
