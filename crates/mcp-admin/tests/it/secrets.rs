//! No secret of a configuration is in any answer, event, log line, metric or error.

use crate::common;
use std::{
    io::Write,
    sync::{Arc, OnceLock},
    time::Duration,
};

use common::{LONG, Served, TOKEN, token};
use futures::StreamExt;
use mcp_pooled_tools::{ConnectionManager, Error, PoolSettings, config::Loader};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::time::timeout;
use tracing_subscriber::fmt::MakeWriter;

/// In each secret of this test.
const MARK: &str = "s3cret";

/// Every place of a configuration in which people keep secrets, written out or as variables.
fn configuration() -> serde_json::Value {
    let command = mcp_testkit::binary();
    json!({ "mcpServers": {
        "env": {
            "command": command,
            "env": { "API_TOKEN": "s3cret-in-env", "OTHER": "${FROM_OUTSIDE}" },
        },
        "args": {
            "command": command,
            "args": ["--marker", "${IN_ARGS}", "--marker=--token=${IN_ARGS}"],
        },
        // Says back what it was given, and ends.
        "written-args": {
            "command": "sh",
            "args": [
                "-c", "echo \"$@\" >&2; exit 3", "sh", "--token", "s3cret-after-token", "--api-key=s3cret-after-equals",
                "--header", "Authorization: Bearer s3cret-in-a-header", "-e", "SERVICE_KEY=s3cret-as-a-key",
                "--config", "{\"githubToken\": \"s3cret-in-json\"}", "host=h password=s3cret-in-pairs",
                "https://h/s/s3cret-01234567890123456789/mcp", "https://me:s3cret-in-a-url@h/mcp?k=s3cret-in-a-query",
            ],
        },
        "says-it": {
            "command": "sh",
            "args": ["-c", "echo I was given $1 and $TOKEN >&2; exit 3", "sh", "${IN_ARGS}"],
            "env": { "TOKEN": "s3cret-on-stderr" },
        },
        "refused": {
            "type": "http",
            "url": "http://me:s3cret-as-password@127.0.0.1:1/s3cret-01234567890123456789/${IN_PATH}/mcp?key=s3cret-in-query&other=${IN_QUERY}",
            "headers": { "Authorization": "Bearer s3cret-in-header", "X-Key": "${IN_HEADER}" },
        },
        "off": {
            "command": "nothing", "disabled": true,
            "args": ["--token=s3cret-of-disabled"], "env": { "TOKEN": "s3cret-of-disabled-env" },
        },
        "wrong": {
            "command": "", "args": ["--token=s3cret-of-wrong"], "env": { "TOKEN": "s3cret-of-wrong-env" },
        },
    } })
}

async fn manager() -> ConnectionManager {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    std::fs::write(&file, configuration().to_string()).unwrap();
    let variables = [
        ("FROM_OUTSIDE", "s3cret-from-outside"),
        ("IN_ARGS", "s3cret-in-args"),
        ("IN_PATH", "s3cret-in-path"),
        ("IN_QUERY", "s3cret-in-query-variable"),
        ("IN_HEADER", "s3cret-in-header-variable"),
    ];
    let quick = PoolSettings::new()
        .retry_attempts(0)
        .connection_timeout(Duration::from_secs(5));
    let loader = Loader::new()
        .file(&file)
        .environment(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
        .defaults(quick);
    ConnectionManager::from_loader(loader).await.unwrap()
}

/// Everything that is logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .init();
        log
    })
}

/// What an error says to people and to developers, with its causes.
fn said(error: &Error) -> String {
    let mut said = format!("{error} {error:?} {:?}", error.stderr());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said += &format!(" {error} {error:?}");
        cause = error.source();
    }
    said
}

#[tokio::test]
async fn no_secret_is_in_any_answer_event_log_line_metric_or_error() {
    let log = log();
    let served = Served::start(manager().await, |admin| admin.token(token())).await;
    let stream = served.request(Method::GET, "/api/v1/mcp/events?snapshots=true");
    let mut events = stream.send().await.unwrap().bytes_stream();

    let mut seen: Vec<(String, String)> = Vec::new();
    for server in served.manager.servers() {
        let called = match served.manager.tools(&server) {
            Ok(tools) => tools.call("echo", json!({ "message": "m" })).await,
            Err(error) => Err(error),
        };
        if let Err(error) = called {
            seen.push((format!("error of {server}"), said(&error)));
        }
        if let Err(error) = served.manager.check_health(&server).await {
            seen.push((format!("health of {server}"), said(&error)));
        }
    }
    let failed = |server: &str| {
        let name = format!("error of {server}");
        seen.iter()
            .find(|(place, _)| *place == name)
            .map(|(_, said)| said.clone())
            .unwrap()
    };
    // The test looks where something is: these would show secrets if nothing took them out.
    assert!(
        failed("says-it").contains("I was given *** and ***"),
        "{}",
        failed("says-it")
    );
    assert!(
        failed("written-args").contains("--token ***"),
        "{}",
        failed("written-args")
    );
    assert!(
        failed("refused").contains("refused"),
        "{}",
        failed("refused")
    );
    let error = |server: &str| served.manager.tools(server).unwrap_err();
    seen.push(("error of nobody".into(), said(&error("nobody"))));
    seen.push((
        "debug of the manager".into(),
        format!("{:?} {:?}", served.manager, served.manager.status()),
    ));

    let (_, document) = served.get("/api/v1/openapi.json").await;
    let servers = served.manager.servers();
    for (path, item) in document["paths"].as_object().unwrap() {
        let method = if item.get("get").is_some() {
            Method::GET
        } else {
            Method::POST
        };
        if path.ends_with("/events") {
            continue;
        }
        let paths: Vec<_> = match path.contains("{server}") {
            true => servers
                .iter()
                .map(|server| path.replace("{server}", server))
                .collect(),
            false => Vec::from([path.clone()]),
        };
        for path in paths {
            let request = served.request(method.clone(), &path).bearer_auth(TOKEN);
            let response = request.send().await.unwrap();
            let headers = format!("{:?}", response.headers());
            let body = response.text().await.unwrap();
            assert!(!body.is_empty(), "{path}");
            seen.push((format!("{method} {path}"), headers + &body));
        }
    }
    let wrong = served
        .request(Method::POST, "/api/v1/mcp/pools/env/reset")
        .bearer_auth("s3cret-but-wrong-token");
    let wrong = wrong.send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    seen.push(("a wrong token".into(), wrong.text().await.unwrap()));

    let mut streamed = String::new();
    // Until a snapshot has come after everything.
    while streamed.matches("event: snapshot").count() < 2
        || !streamed.contains("event: open_failed")
    {
        let more = timeout(LONG, events.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        streamed += std::str::from_utf8(&more).unwrap();
    }
    seen.push(("events".into(), streamed));
    served.end().await;
    let logged = log.text();
    for expected in ["exit status: 3", "worker quit", "status API"] {
        assert!(
            logged.contains(expected),
            "the log is not looked at: {logged}"
        );
    }
    seen.push(("log".into(), logged));

    let leaks: Vec<_> = seen
        .iter()
        .flat_map(|(place, text)| {
            let found = text.match_indices(MARK).chain(text.match_indices(TOKEN));
            found.map(move |(at, _)| {
                let (start, end) = (at.saturating_sub(60), (at + 60).min(text.len()));
                let around = String::from_utf8_lossy(&text.as_bytes()[start..end]);
                format!("{place}: …{around}…")
            })
        })
        .collect();
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
}
