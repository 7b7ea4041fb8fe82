//! Error messages for users.

use crate::common;
use std::{error::Error as _, time::Duration};

use common::{in_process, manager, process};
use mcp_pooled_tools::{ConnectionManager, Error, ErrorKind, PoolSettings, ServerConfig};
use mcp_testkit::{
    HttpOptions, HttpServer, TestServer,
    scripted_http::{Answer, Asked, ScriptedHttp},
};
use serde_json::json;

async fn error_of(server: ServerConfig) -> Error {
    let manager = manager(
        server,
        PoolSettings::new().connection_timeout(Duration::from_secs(5)),
    )
    .await;
    let error = manager
        .tools("test")
        .unwrap()
        .list_all_tools()
        .await
        .unwrap_err();
    let line = error.to_string();
    assert!(
        line.starts_with("server `test`: ") && !line.contains('\n'),
        "{line}"
    );
    manager.shutdown().await;
    error
}

#[tokio::test]
async fn pain_26_every_failure_to_open_names_the_server_the_cause_and_what_to_do() {
    let error = error_of(ServerConfig::stdio("no-such-command-anywhere")).await;
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(
        error
            .to_string()
            .contains("command not found: `no-such-command-anywhere`; install it"),
        "{error}"
    );
    assert!(!error.is_retryable(), "it will not appear by itself");
    assert!(error.source().is_some());

    let error = error_of(process(&[
        "--exit",
        "3",
        "--stderr",
        "the licence has expired",
    ]))
    .await;
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(
        error.to_string().contains('3') && error.to_string().contains("the licence has expired"),
        "{error}"
    );
    assert!(
        error
            .stderr()
            .iter()
            .any(|line| line.contains("the licence has expired"))
    );
    assert!(error.is_retryable());
    assert!(error.retry_after().is_some());
}

#[tokio::test]
async fn http_failures_have_kinds_of_their_own() {
    for (status, kind) in [
        (401, ErrorKind::Authentication),
        (403, ErrorKind::Authentication),
        (404, ErrorKind::Connection),
        (500, ErrorKind::Connection),
    ] {
        let server = HttpServer::start(HttpOptions {
            status: Some(status),
            ..HttpOptions::default()
        })
        .await;
        let error = error_of(ServerConfig::http(server.url())).await;
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
    let mut server = HttpServer::start(HttpOptions::default()).await;
    let url = server.url();
    server.stop().await;
    let error = error_of(ServerConfig::http(url)).await;
    assert_eq!(error.kind(), ErrorKind::Connection);
    assert!(
        error.to_string().contains("could not be reached"),
        "{error}"
    );
}

#[tokio::test]
async fn a_secret_that_a_server_repeats_is_not_in_the_error() {
    let server = ServerConfig::stdio("sh")
        .args(["-c", "echo \"bad token $TOKEN\" >&2; exit 1"])
        .env("TOKEN", "s3cr3t-value");
    let error = error_of(server).await;
    let shown = format!("{error} {error:?} {:?}", error.stderr());
    assert!(
        shown.contains("bad token ***") && !shown.contains("s3cr3t-value"),
        "{shown}"
    );
}

#[tokio::test]
async fn an_unknown_server_is_answered_with_those_that_are_known() {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    assert!(manager.tools("mcp.test").is_ok());
    let error = manager.tools("tset").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(error.to_string(), "there is no server `tset`; known: test");
    manager.shutdown().await;
}

#[tokio::test]
async fn arguments_that_are_no_object_are_refused_before_anything_is_sent() {
    let server = TestServer::new();
    let manager = in_process(&server, PoolSettings::new()).await;
    let error = manager
        .tools("test")
        .unwrap()
        .call("echo", [1, 2])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(
        error
            .to_string()
            .contains("expected an object, got an array"),
        "{error}"
    );
    assert_eq!(server.requests(), 0);
    manager.shutdown().await;
}

#[tokio::test]
async fn the_queue_is_bounded_and_says_so() {
    let settings = PoolSettings::new()
        .max_connections(1)
        .max_in_flight(1)
        .max_waiters(1)
        .fallback(mcp_pooled_tools::config::Fallback::Error);
    let manager = in_process(&TestServer::new(), settings).await;
    let tools = manager.tools("test").unwrap();
    let held = tools.session().await.unwrap();
    let waiting = tokio::spawn({
        let tools = tools.clone();
        async move { tools.call("echo", json!({})).await }
    });
    while manager.pool_status("test").unwrap().waiters == 0 {
        tokio::task::yield_now().await;
    }
    let error = tools.call("echo", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(
        error.is_retryable() && error.to_string().contains("max_waiters"),
        "{error}"
    );
    waiting.abort();
    drop(held);
    manager.shutdown().await;
}

#[tokio::test]
async fn pain_12_one_bad_entry_of_a_file_leaves_the_others_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(".mcp.json");
    let command = mcp_testkit::binary();
    let config = json!({ "mcpServers": {
        "good": { "command": command, "args": [], "pool": { "min_connections": 0 } },
        "bad": { "command": "${SURELY_NOT_SET_ANYWHERE}/server" },
    }});
    std::fs::write(&file, config.to_string()).unwrap();
    let manager = ConnectionManager::from_file(&file).await.unwrap();
    assert_eq!(manager.servers(), ["bad", "good"]);
    let tools = manager
        .tools("good")
        .unwrap()
        .list_all_tools()
        .await
        .unwrap();
    assert!(tools.iter().any(|tool| tool.name == "echo"));
    let error = manager.tools("bad").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    for part in [
        "server `bad`",
        "mcpServers.bad.command",
        "SURELY_NOT_SET_ANYWHERE",
    ] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    manager.shutdown().await;
}

/// An error and all that lies beneath it, in both ways of showing it.
fn whole(error: &Error) -> String {
    let mut shown = String::new();
    let mut level: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = level {
        shown.push_str(&format!("{error} {error:?}\n"));
        level = error.source();
    }
    shown
}

#[tokio::test]
async fn no_secret_is_in_an_error_its_causes_or_the_status() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://user:PASSWORD1@{unused}/mcp?api_key=SECRET123");
    let echoing =
        process(&["--stderr", "my token is SECRETXYZ", "--exit", "3"]).env("TOKEN", "SECRETXYZ");
    for server in [ServerConfig::http(url), echoing] {
        let manager = manager(server, PoolSettings::new()).await;
        let error = manager
            .tools("test")
            .unwrap()
            .call("echo", json!({}))
            .await
            .unwrap_err();
        let status = serde_json::to_string(&manager.status()).unwrap();
        for shown in [whole(&error), status, format!("{manager:?}")] {
            for secret in ["PASSWORD1", "SECRET123", "SECRETXYZ"] {
                assert!(!shown.contains(secret), "{secret} in {shown}");
            }
        }
        manager.shutdown().await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_a_variable_put_into_an_argument_is_in_no_error_either() {
    let server = HttpServer::start(HttpOptions::default()).await;
    let says = "echo \"bad argument $0, in $1, port $2\" >&2; exit 1";
    let servers = json!({ "mcpServers": {
        "argument": {
            "command": "sh",
            "args": ["-c", says, "--token=${TOKEN}", "${HOME}/project", "${PORT}"],
        },
        "command": {
            "url": server.url(),
            "headers": { "Authorization": {
                "command": ["sh", "-c", says, "--token=${TOKEN}", "${HOME}/project", "${PORT}"],
            }},
        },
    }});
    let home = "/home/somebody";
    let loader = mcp_pooled_tools::config::Loader::new()
        .environment([("TOKEN", "s3cr3t-value"), ("HOME", home), ("PORT", "8080")])
        .text(".mcp.json", servers.to_string())
        .defaults(PoolSettings::new().retry_attempts(0).min_connections(0));
    let manager = ConnectionManager::from_loader(loader).await.unwrap();
    let said = format!("bad argument --token=***, in {home}/project, port 8080");
    for server in ["argument", "command"] {
        let tools = manager.tools(server).unwrap();
        let error = tools.call("echo", json!({})).await.unwrap_err();
        let status = serde_json::to_string(&manager.status()).unwrap();
        let shown = format!("{}{status}{:?}", whole(&error), error.stderr());
        assert!(!shown.contains("s3cr3t"), "{server}: {shown}");
        assert!(error.to_string().contains(&said), "{server}: {shown}");
    }
    manager.shutdown().await;
}

/// A server that answers every request by quoting its path.
async fn quoting() -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 1 << 16];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]);
            let path = request.split(' ').nth(1).unwrap_or_default();
            let id = request.rsplit_once("\"id\":").map_or("0", |(_, rest)| {
                rest.split(|c: char| !c.is_ascii_digit()).next().unwrap()
            });
            let error = json!({ "code": -32000, "message": format!("no such path: {path}") });
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json";
            let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[cfg(unix)]
#[tokio::test]
async fn what_a_variable_put_into_a_url_or_a_part_of_a_value_is_in_no_error_either() {
    let quoting = quoting().await;
    let says = "echo \"bad token ${T#key=}\" >&2; exit 1";
    let servers = json!({ "mcpServers": {
        "path": { "url": format!("http://{quoting}/${{TOKEN}}/mcp") },
        "encoded": { "url": format!("http://{quoting}/${{ODD}}/mcp") },
        "part": { "command": "sh", "args": ["-c", says], "env": { "T": "key=${TOKEN}" } },
    }});
    let loader = mcp_pooled_tools::config::Loader::new()
        .environment([("TOKEN", "s3cr3t-value"), ("ODD", "s3cr3t^{vä}\"l\"")])
        .defaults(PoolSettings::new().retry_attempts(0))
        .text(".mcp.json", servers.to_string());
    let manager = ConnectionManager::from_loader(loader).await.unwrap();
    for (server, reported) in [
        ("path", "no such path: /***/mcp"),
        ("encoded", "no such path: /***/mcp"),
        ("part", "bad token ***"),
    ] {
        let tools = manager.tools(server).unwrap();
        let error = tools.call("echo", json!({})).await.unwrap_err();
        let shown = format!("{}{:?}", whole(&error), error.stderr());
        let status = serde_json::to_string(&manager.status()).unwrap();
        for text in [&shown, &status] {
            assert!(!text.contains("s3cr3t"), "{server}: {text}");
        }
        assert!(shown.contains(reported), "{server}: {shown}");
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn a_challenge_for_authorization_reaches_the_caller_from_an_opening_and_from_a_call() {
    let refuses = |method: &'static str| {
        move |asked: &Asked| {
            let header = r#"Bearer resource_metadata="http://localhost/metadata", scope="write""#;
            let refusal = Answer::status(401, "no").header("WWW-Authenticate", header);
            (method.is_empty() || asked.method() == method).then_some(refusal)
        }
    };
    for method in ["", "tools/call"] {
        let server = ScriptedHttp::start(refuses(method)).await;
        let manager = manager(ServerConfig::http(server.url()), PoolSettings::new()).await;
        let tools = manager.tools("test").unwrap();
        let error = tools.call("echo", json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        let challenge = error.auth_challenge().expect("the server sent one");
        assert_eq!(challenge.scope.as_deref(), Some("write"));
        let metadata = challenge.resource_metadata.as_deref();
        assert_eq!(metadata, Some("http://localhost/metadata"));
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_call_that_is_refused_over_http_says_the_status_and_the_servers_words() {
    let server = ScriptedHttp::start(|asked| {
        let refusal = Answer::status(429, "Rate limit exceeded").header("Retry-After", "7");
        (asked.method() == "tools/call").then_some(refusal)
    })
    .await;
    let manager = manager(ServerConfig::http(server.url()), PoolSettings::new()).await;
    let error = manager
        .tools("test")
        .unwrap()
        .call("echo", json!({}))
        .await
        .unwrap_err();
    let expected = "server `test`: tool `echo` was turned away: HTTP 429: Rate limit exceeded";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    let chain = std::iter::successors(error.source(), |error| (*error).source());
    for cause in chain {
        assert!(!cause.to_string().contains("::"), "a Rust type: {cause}");
    }
    manager.shutdown().await;
}

/// A server that answers every call with this error.
#[derive(Clone)]
struct Refusing(&'static str);

impl rmcp::ServerHandler for Refusing {
    async fn call_tool(
        &self,
        _: rmcp::model::CallToolRequestParams,
        _: rmcp::service::RequestContext<rmcp::RoleServer>,
    ) -> Result<rmcp::model::CallToolResponse, rmcp::ErrorData> {
        let long = "x".repeat(1 << 20);
        Err(rmcp::ErrorData::invalid_params(
            format!("{}{long}", self.0),
            None,
        ))
    }
}

#[tokio::test]
async fn the_text_of_a_servers_error_is_quoted_without_secrets_on_one_short_line() {
    use mcp_pooled_tools::core::connect::in_process::InProcess;
    let said = "no\r\n\u{1b}[2J\u{202e}way\n";
    let manager = ConnectionManager::builder()
        .connector(
            "test",
            InProcess::new(move || Refusing(said)),
            PoolSettings::new(),
        )
        .build()
        .await
        .unwrap();
    let tools = manager.tools("test").unwrap();
    let error = tools.call("echo", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    let line = error.to_string();
    assert!(line.contains(r"no \u{1b}[2J\u{202e}way xxx"), "{line:.200}");
    assert!(line.len() < 1_400 && !line.contains(['\n', '\r', '\u{1b}', '\u{202e}']));
    let sent = &error.protocol().unwrap().message;
    assert!(sent.starts_with(said) && sent.len() > 1 << 20);
    manager.shutdown().await;
}

/// The chain as `anyhow` prints it with `{:#}`.
fn chain(error: &(dyn std::error::Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |error| (*error).source())
        .map(ToString::to_string)
        .collect()
}

#[tokio::test]
async fn no_error_says_twice_what_it_says_when_its_chain_is_printed() {
    let mut errors = vec![
        error_of(ServerConfig::stdio("no-such-command-anywhere")).await,
        error_of(ServerConfig::stdio("/")).await,
        error_of(process(&[
            "--exit",
            "3",
            "--stderr",
            "the licence has expired",
        ]))
        .await,
        error_of(ServerConfig::http("http://127.0.0.1:1/mcp")).await,
    ];
    let server = TestServer::new();
    let manager = in_process(&server, PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    errors.push(tools.call("no-such-tool", json!({})).await.unwrap_err());
    let loaded = mcp_pooled_tools::config::Config::from_json_str("{", "f");
    errors.push(loaded.unwrap_err().into());
    for error in errors {
        let chain = chain(&error);
        for (level, beneath) in chain.iter().zip(&chain[1..]) {
            assert!(!level.contains(beneath), "{chain:#?}");
        }
    }
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_limit_names_the_knob_that_raises_it() {
    use mcp_pooled_tools::CallOptions;
    let server = TestServer::new();
    let manager = in_process(&server, PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let second = Duration::from_secs(1);
    let call = |options: CallOptions| {
        tools.call_tool_with(
            rmcp::model::CallToolRequestParams::new("sleep")
                .with_arguments(json!({"ms": 600_000}).as_object().unwrap().clone()),
            options,
        )
    };
    for (options, knob) in [
        (
            CallOptions::new().timeout(second),
            "RequestOptions::timeout",
        ),
        (CallOptions::new(), "call_timeout"),
        (
            CallOptions::new().reset_on_progress().max_total(second),
            "RequestOptions::max_total",
        ),
    ] {
        let error = call(options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(
            error.to_string().contains(&format!("raise {knob} if")),
            "{error}"
        );
    }
    manager.shutdown().await;
}
