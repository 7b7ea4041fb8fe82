//! Tokens from files, commands and identities, from the configuration down to the wire.

use crate::common;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use common::{manager, whoami};
use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, Identity, PoolSettings, PooledTools, ServerConfig,
    breaker::State,
    config::ValueFrom,
    core::{
        connect::BoxFuture,
        source::{Asked, File, Prefixed, SourceError, ValueSource},
    },
};
use mcp_testkit::{HttpOptions, HttpServer};
use serde_json::json;

async fn serve(token: Option<&str>) -> HttpServer {
    HttpServer::start(HttpOptions {
        bearer: token.map(str::to_owned),
        ..HttpOptions::default()
    })
    .await
}

async fn echo(tools: &PooledTools) -> Result<(), mcp_pooled_tools::Error> {
    let answer = tools.call("echo", json!({"message": "a"})).await?;
    assert_eq!(common::text(&answer), "a");
    Ok(())
}

async fn authorization(tools: &PooledTools) -> String {
    let asked = json!({"headers": ["authorization"]});
    let seen = whoami(&tools.call("whoami", asked).await.unwrap());
    seen["headers"]["authorization"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A server whose token comes from a script, which may read `$FOLDER`.
fn scripted(server: &HttpServer, script: &str, folder: &Path) -> ServerConfig {
    let token = ValueFrom::command("sh", ["-c", script])
        .variable("FOLDER", folder.to_str().unwrap())
        .prefix("Bearer ");
    ServerConfig::http(server.url()).header_from("Authorization", token)
}

#[tokio::test]
async fn a_token_file_of_mcp_json_is_read_again_when_the_token_has_changed() {
    let server = serve(Some("first-token")).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join(".mcp.json"), folder.path().join("token"));
    std::fs::write(&token, "first-token\n").unwrap();
    let servers = json!({"mcpServers": {"test": {
        "url": server.url(),
        "headers": {"Authorization": {"file": "token", "prefix": "Bearer "}},
        "pool": {"min_connections": 0},
    }}});
    std::fs::write(&file, servers.to_string()).unwrap();
    let manager = ConnectionManager::from_file(&file).await.unwrap();
    let tools = manager.tools("test").unwrap();
    echo(&tools).await.unwrap();

    std::fs::write(&token, "second-token\n").unwrap();
    server.accept_only("second-token");
    echo(&tools).await.unwrap();
    assert_eq!(server.unauthorized(), 1);
    let status = serde_json::to_string(&manager.status()).unwrap();
    let shown = format!("{manager:?} {tools:?} {status}");
    assert!(!shown.contains("-token"), "{shown}");
    manager.shutdown().await;
}

#[tokio::test]
async fn a_command_is_run_for_openings_and_refusals_and_for_nothing_else() {
    let server = serve(Some("first-token")).await;
    let folder = tempfile::tempdir().unwrap();
    let (runs, token) = (folder.path().join("runs"), folder.path().join("token"));
    std::fs::write(&token, "first-token").unwrap();
    let script = "echo run >> \"$FOLDER/runs\"; cat \"$FOLDER/token\"";
    let manager = manager(
        scripted(&server, script, folder.path()),
        PoolSettings::new(),
    )
    .await;
    let tools = manager.tools("test").unwrap();
    let ran = || std::fs::read_to_string(&runs).unwrap().lines().count();
    for _ in 0..10 {
        echo(&tools).await.unwrap();
    }
    assert_eq!(ran(), 1);
    std::fs::write(&token, "second-token").unwrap();
    server.accept_only("second-token");
    for _ in 0..10 {
        echo(&tools).await.unwrap();
    }
    assert_eq!((ran(), server.unauthorized()), (2, 1));
    manager.shutdown().await;
}

#[tokio::test]
async fn a_command_that_fails_is_an_authentication_error_that_says_which_and_why() {
    let server = serve(Some("token")).await;
    let folder = tempfile::tempdir().unwrap();
    let script = "echo s3cret-token; echo \"cannot give s3cret-token: not signed in\" >&2; exit 4";
    let manager = manager(
        scripted(&server, script, folder.path()),
        PoolSettings::new(),
    )
    .await;
    let error = echo(&manager.tools("test").unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert_eq!(
        error.to_string(),
        "server `test`: no value for header `authorization`: command `sh` failed: exit status: 4; \
         stderr: cannot give ***: not signed in"
    );
    assert_eq!(error.stderr(), ["cannot give ***: not signed in"]);
    assert!(error.retry_after().is_some() && !error.is_retryable());
    let status = manager.status();
    let pool = &status.servers[0].pools[0];
    assert_eq!(pool.circuit_breaker_state, State::Closed);
    assert_eq!(
        serde_json::to_value(pool.circuit_breaker).unwrap()["faults"],
        0
    );
    assert_eq!(server.requests(), 0);
    let shown = format!("{error:?} {}", serde_json::to_string(&status).unwrap());
    assert!(!shown.contains("s3cret"), "{shown}");
    manager.shutdown().await;
}

#[tokio::test]
async fn pain_01_each_identity_has_the_token_of_its_own_source_and_sessions_of_its_own() {
    let server = serve(None).await;
    let folder = tempfile::tempdir().unwrap();
    let token_of = |who: &str| {
        let path = folder.path().join(who);
        std::fs::write(&path, format!("token-of-{who}")).unwrap();
        path
    };
    let everybody = ValueFrom::file(token_of("everybody")).prefix("Bearer ");
    let config = ServerConfig::http(server.url()).header_from("Authorization", everybody);
    let manager = manager(config, PoolSettings::new()).await;
    let identity = |who: &str| {
        let source = Prefixed::new("Bearer ", File::new(token_of(who)));
        Identity::new("somebody").header_from("Authorization", Arc::new(source))
    };
    let nobody = manager.tools("test").unwrap();
    let of_alice = identity("alice");
    let (alice, alice_again) = (
        nobody.with_identity(of_alice.clone()),
        nobody.with_identity(of_alice),
    );
    // The same name, and another source.
    let bob = nobody.with_identity(identity("bob"));
    let fixed = nobody.with_identity(Identity::new("fixed").bearer("token-of-fixed"));
    for _ in 0..2 {
        for (tools, who) in [
            (&nobody, "everybody"),
            (&alice, "alice"),
            (&bob, "bob"),
            (&alice_again, "alice"),
            (&fixed, "fixed"),
        ] {
            assert_eq!(authorization(tools).await, format!("Bearer token-of-{who}"));
        }
    }
    let status = manager.status();
    let pools = &status.servers[0].pools;
    assert_eq!(pools.len(), 4, "the very same source is the same identity");
    assert!(pools.iter().all(|pool| pool.pool.opened == 1), "{pools:#?}");
    let shown = format!("{alice:?} {:?}", identity("carol"));
    assert!(!shown.contains("token-of"), "{shown}");
    manager.shutdown().await;
}

#[tokio::test]
async fn calls_beside_the_pool_have_the_token_too() {
    let server = serve(Some("first-token")).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "first-token").unwrap();
    let token = ValueFrom::file(&path).prefix("Bearer ");
    let config = ServerConfig::http(server.url()).header_from("Authorization", token);
    let manager = manager(config, PoolSettings::new()).await;
    let tools = manager.direct_tools("test").unwrap();
    let answer = tools.call("echo", json!({"message": "a"})).await.unwrap();
    assert_eq!(common::text(&answer), "a");
    std::fs::write(&path, "second-token").unwrap();
    server.accept_only("second-token");
    tools.call("echo", json!({"message": "a"})).await.unwrap();
    assert_eq!(server.unauthorized(), 0, "asked at each opening");
    manager.shutdown().await;
}

/// Tokens one after the other: the next when one was refused.
#[derive(Debug)]
struct Numbered(AtomicU32);

impl ValueSource for Numbered {
    fn value(&self, asked: Asked) -> BoxFuture<'_, Result<String, SourceError>> {
        if asked == Asked::Refused {
            self.0.fetch_add(1, Relaxed);
        }
        let number = self.0.load(Relaxed);
        Box::pin(async move { Ok(format!("Bearer token-number-{number}")) })
    }
}

#[tokio::test]
async fn a_source_of_ones_own_serves_a_server_of_a_file_by_its_name() {
    let server = serve(Some("token-number-1")).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let servers = json!({"mcpServers": {
        "test": {
            "url": server.url(),
            "headers": {"Authorization": "Bearer of-the-file"},
            "pool": {"min_connections": 0},
        },
        "process": {"command": "x"},
    }});
    std::fs::write(&file, servers.to_string()).unwrap();
    let numbered: Arc<dyn ValueSource> = Arc::new(Numbered(AtomicU32::new(1)));
    let with = |name: &'static str, header: &str| {
        let builder = ConnectionManager::builder().file(&file);
        builder
            .header_from(name, header, Arc::clone(&numbered))
            .build()
    };
    let manager = with("test", "Authorization").await.unwrap();
    let tools = manager.tools("test").unwrap();
    echo(&tools).await.unwrap();
    server.accept_only("token-number-2");
    echo(&tools).await.unwrap();
    assert_eq!(authorization(&tools).await, "Bearer token-number-2");
    assert_eq!(server.unauthorized(), 1, "the file's token was never sent");
    let fixed = tools.with_identity(Identity::new("other").bearer("token-of-another"));
    server.accept_only("token-of-another");
    assert_eq!(authorization(&fixed).await, "Bearer token-of-another");
    manager.shutdown().await;

    for (name, header, expected) in [
        (
            "tset",
            "A",
            "server `tset`: a header is set, but there is no such server",
        ),
        (
            "process",
            "A",
            "server `process`: a header is set, but a stdio server has no headers",
        ),
        (
            "test",
            "A B",
            "server `test`: `a b` is not a name a header can have",
        ),
    ] {
        let error = with(name, header).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.to_string(), expected);
    }
}
