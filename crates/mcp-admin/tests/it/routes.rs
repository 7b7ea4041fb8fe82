//! Every route: what it says when all is well, and what it says to mistakes.

mod actions;

use crate::common;
use std::{collections::BTreeSet, time::Duration};

use common::{LONG, Served, in_process, process};
use mcp_pooled_tools::{
    CallOptions, ConnectionManager, PoolSettings, ServerConfig, Sharing,
    config::{CircuitBreakerSettings, Lifecycle, Replay},
};
use mcp_testkit::TestServer;
use reqwest::{Method, StatusCode};
use rmcp::model::CallToolRequestParams;
use serde_json::{Value, json};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

async fn served() -> Served {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    Served::start(manager, |admin| admin).await
}

async fn call(manager: &ConnectionManager) {
    let tools = manager.tools("test").unwrap();
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
}

/// Opens the breaker of a server that opens it at the first fault.
async fn run_out_of_time(manager: &ConnectionManager) {
    let arguments = json!({ "ms": 60_000 }).as_object().cloned().unwrap();
    let hang = CallToolRequestParams::new("sleep").with_arguments(arguments);
    let options = CallOptions::new().timeout(SECOND);
    let tools = manager.tools("test").unwrap();
    tools.call_tool_with(hang, options).await.unwrap_err();
}

fn trips_at_once() -> PoolSettings {
    let breaker = CircuitBreakerSettings::new()
        .failure_threshold(1)
        .recovery_timeout(600 * SECOND);
    PoolSettings::new()
        .replay(Replay::Never)
        .call_timeout(SECOND)
        .circuit_breaker(breaker)
}

#[tokio::test]
async fn status_says_how_all_are() {
    let served = served().await;
    call(&served.manager).await;
    let (status, body) = served.get("/api/v1/mcp/status").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["status"], "healthy");
    assert_eq!(body["total_pools"], 1);
    assert_eq!(body["total_requests"], 1);
    assert_eq!(body["total_errors"], 0);
    assert_eq!(body["connections"], 1);
    assert_eq!(body["servers"][0]["server_name"], "test");
    assert_eq!(
        body["active_alerts"],
        json!({ "warning": 0, "critical": 0 })
    );
    served.end().await;
}

#[tokio::test]
async fn pools_have_the_keys_that_people_know() {
    let served = served().await;
    call(&served.manager).await;
    call(&served.manager).await;
    let (status, pools) = served.get("/api/v1/mcp/pools").await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "server_name": "test",
        "total_connections": 1,
        "available_connections": 1,
        "circuit_breaker_state": "closed",
        "pool_hits": 1,
        "pool_misses": 1,
        "connection_errors": 0,
        "health_check_failures": 0,
        "requests": 2,
        "errors": 0,
        "transport": "custom",
        "disabled": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(pools[0][key], *value, "{key}");
    }
    // Both names by which a server goes elsewhere, too.
    for name in ["test", "mcp.test", "t%65st"] {
        let (status, pool) = served.get(&format!("/api/v1/mcp/pools/{name}")).await;
        assert_eq!(status, StatusCode::OK, "{name}");
        for key in expected.as_object().unwrap().keys() {
            assert_eq!(pool[key], pools[0][key], "{key}");
        }
        let session = &pool["pools"][0]["sessions"][0];
        assert_eq!(
            (&session["state"], &session["calls"]),
            (&json!("ready"), &json!(2))
        );
    }
    served.end().await;
}

#[tokio::test]
async fn the_json_totals_are_those_of_the_summary() {
    let served = served().await;
    call(&served.manager).await;
    let (status, summary) = served.get("/api/v1/mcp/metrics/summary").await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({ "total_pools": 1, "total_requests": 1, "total_errors": 0 });
    assert_eq!(summary["global_metrics"], expected);
    assert_eq!(summary["pool_metrics"][0]["server_name"], "test");

    let text = served
        .request(Method::GET, "/metrics")
        .send()
        .await
        .unwrap();
    assert_eq!(
        text.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = text.text().await.unwrap();
    assert!(
        text.contains("mcp_calls_total{server=\"test\",outcome=\"ok\"} 1\n"),
        "{text}"
    );
    served.end().await;
}

#[tokio::test]
async fn alerts_can_be_asked_for_by_what_they_are() {
    let manager = in_process(&TestServer::new(), trips_at_once()).await;
    let served = Served::start(manager, |admin| admin).await;
    run_out_of_time(&served.manager).await;
    let began = Instant::now();
    let alert = loop {
        let (status, alerts) = served.get("/api/v1/mcp/alerts").await;
        assert_eq!(status, StatusCode::OK);
        if let Some(alert) = alerts.get(0) {
            break alert.clone();
        }
        assert!(began.elapsed() < LONG, "no alert is raised");
        tokio::time::sleep(SECOND / 10).await;
    };
    assert_eq!(
        (&alert["server"], &alert["kind"]),
        (&json!("test"), &json!("circuit_breaker_open"))
    );
    assert_eq!(
        (&alert["severity"], &alert["resolved_at"]),
        (&json!("critical"), &Value::Null)
    );
    for (query, found) in [
        ("severity=critical&limit=20&active=true", 1),
        ("severity=warning", 0),
        ("active=false", 0),
        ("server=test", 1),
        ("limit=1000", 1),
    ] {
        let (status, alerts) = served.get(&format!("/api/v1/mcp/alerts?{query}")).await;
        assert_eq!(status, StatusCode::OK, "{query}");
        assert_eq!(alerts.as_array().unwrap().len(), found, "{query}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_query_with_a_mistake_is_told_by_its_field() {
    let served = served().await;
    for (path, field, says) in [
        ("alerts?limit=0", "limit", "between 1 and 1000"),
        ("alerts?limit=1001", "limit", "between 1 and 1000"),
        ("alerts?limit=", "limit", "``"),
        ("alerts?limit=-1", "limit", "`-1`"),
        ("alerts?limit=many", "limit", "`many`"),
        ("alerts?active=yes", "active", "`yes`"),
        (
            "alerts?severity=fatal",
            "severity",
            "expected `warning` or `critical`",
        ),
        ("alerts?sevrity=critical", "sevrity", "expected one of"),
        ("alerts?limit=1&limit=2", "limit", "twice"),
        ("events?snapshots=1", "snapshots", "`1`"),
        ("events?server=test&what=all", "what", "unknown field"),
    ] {
        let (status, problem) = served.get(&format!("/api/v1/mcp/{path}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
        assert_eq!(problem["field"], field, "{path}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(says) && detail.contains(field),
            "{path}: {detail}"
        );
        assert_eq!(
            (&problem["status"], &problem["title"]),
            (&json!(400), &json!("Bad Request"))
        );
    }
    served.end().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_those_that_are() {
    let served = served().await;
    for (method, path) in [
        (Method::GET, "pools/nobody"),
        (Method::GET, "events?server=nobody"),
        (Method::GET, "alerts?server=nobody"),
        (Method::GET, "servers/nobody"),
        (Method::POST, "alerts/silence?server=nobody&kind=crash_loop"),
        (Method::POST, "pools/nobody/health-check"),
        (Method::POST, "pools/nobody/reset"),
        (Method::POST, "pools/nobody/drain"),
    ] {
        let (status, problem) =
            common::json(served.request(method, &format!("/api/v1/mcp/{path}"))).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(problem["known_servers"], json!(["test"]), "{path}");
        assert!(
            problem["detail"].as_str().unwrap().contains("known: test"),
            "{problem}"
        );
    }
    let (status, problem) = served.get("/api/v1/mcp/pools/%ff").await;
    assert_eq!(
        (status, &problem["field"]),
        (StatusCode::BAD_REQUEST, &json!("server"))
    );
    served.end().await;
}

#[tokio::test]
async fn a_server_that_is_switched_off_is_shown_and_cannot_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let servers = json!({ "mcpServers": { "off": { "command": "nothing", "disabled": true } } });
    std::fs::write(&file, servers.to_string()).unwrap();
    let served = Served::start(
        ConnectionManager::from_file(&file).await.unwrap(),
        |admin| admin,
    )
    .await;
    for action in ["health-check", "reset", "drain"] {
        let (status, problem) = served
            .post(&format!("/api/v1/mcp/pools/off/{action}"))
            .await;
        assert_eq!(status, StatusCode::CONFLICT, "{action}: {problem}");
    }
    let (_, pool) = served.get("/api/v1/mcp/pools/off").await;
    assert!(
        pool["disabled"].as_str().unwrap().contains("disabled"),
        "{pool}"
    );
    let (_, status) = served.get("/api/v1/mcp/status").await;
    assert_eq!(status["status"], "healthy", "nothing is expected of it");
    served.end().await;
}

#[tokio::test]
async fn what_is_not_there_and_what_a_route_does_not_take_is_told() {
    let served = served().await;
    for path in [
        "/api/v1/mcp",
        "/api/v1/mcp/pools/",
        "/api/v2/mcp/status",
        "/favicon.ico",
        "//",
    ] {
        let (status, problem) = served.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(
            problem["detail"].as_str().unwrap().contains("openapi.json"),
            "{problem}"
        );
    }
    let (_, document) = served.get("/api/v1/openapi.json").await;
    let paths = document["paths"].as_object().unwrap();
    for (path, item) in paths {
        let path = path.replace("{server}", "test");
        for method in [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ] {
            if item.get(method.as_str().to_ascii_lowercase()).is_some() {
                continue;
            }
            let response = served.request(method.clone(), &path).send().await.unwrap();
            assert_eq!(
                response.status(),
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            let allowed = response.headers()["allow"].to_str().unwrap().to_owned();
            let takes = if item.get("get").is_some() {
                "GET,HEAD"
            } else {
                "POST"
            };
            assert_eq!(allowed, takes, "{path}");
            common::read(response).await;
        }
    }
    assert_eq!(paths.len(), 17, "a route more or less: {:?}", paths.keys());
    served.end().await;
}

#[tokio::test]
async fn servers_and_config_tell_what_is_configured_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".mcp.json");
    let servers = json!({ "mcpServers": {
        "files": { "command": "nothing", "args": ["--quiet"], "pool": { "max_connections": 7 } },
        "web": { "type": "http", "url": "http://127.0.0.1:1/mcp" },
    } });
    std::fs::write(&file, servers.to_string()).unwrap();
    let served = Served::start(
        ConnectionManager::from_file(&file).await.unwrap(),
        |admin| admin,
    )
    .await;
    let (status, servers) = served.get("/api/v1/mcp/servers").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&servers[0]["name"], &servers[0]["transport"]),
        (&json!("files"), &json!("stdio"))
    );
    assert_eq!(servers[0]["definition"]["args"], json!(["--quiet"]));
    assert!(
        servers[0]["source"]
            .as_str()
            .unwrap()
            .ends_with(".mcp.json")
    );
    assert_eq!(servers[1]["definition"]["url"], "http://127.0.0.1:1/mcp");

    let (status, config) = served.get("/api/v1/mcp/config").await;
    assert_eq!(status, StatusCode::OK);
    let settings = config[0]["settings"].as_array().unwrap();
    let named = |name: &str| {
        settings
            .iter()
            .find(|setting| setting["setting"] == name)
            .unwrap()
    };
    assert_eq!(named("max_connections")["value"], 7);
    let origin = named("max_connections")["origin"].as_str().unwrap();
    assert!(
        origin.ends_with(".mcp.json: mcpServers.files.pool.max_connections"),
        "{origin}"
    );
    assert_eq!(named("max_waiters")["origin"], "default");
    let (status, files) = served.get("/api/v1/mcp/servers/files").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(files["definition"], servers[0]["definition"]);
    assert_eq!(files["settings"], config[0]["settings"]);
    served.end().await;
}

#[tokio::test]
async fn a_pool_tells_why_a_known_server_is_shared_as_it_is() {
    let memory = |settings: PoolSettings| {
        let server = ServerConfig::stdio("npx").arg("@modelcontextprotocol/server-memory");
        server.pool(settings.min_connections(0))
    };
    let own = PoolSettings::new().sharing(Sharing::Pinned);
    let manager = ConnectionManager::builder()
        .server("memory", memory(PoolSettings::new()))
        .server("own", memory(own))
        .build()
        .await
        .unwrap();
    let reason = manager.pool_status("memory").unwrap().sharing_reason;
    assert!(reason.unwrap().contains("loses writes"), "{reason:?}");
    assert_eq!(manager.pool_status("own").unwrap().sharing_reason, None);
    let served = Served::start(manager, |admin| admin).await;
    for (name, sharing, reason) in [
        ("memory", "exclusive", json!(reason)),
        ("own", "pinned", Value::Null),
    ] {
        let (_, body) = served.get(&format!("/api/v1/mcp/pools/{name}")).await;
        assert_eq!(body["pools"][0]["sharing"], sharing, "{body}");
        assert_eq!(body["pools"][0]["sharing_reason"], reason, "{body}");
    }
    served.end().await;
}

#[tokio::test]
async fn the_details_of_a_server_have_what_it_wrote_to_stderr() {
    let manager = ConnectionManager::builder()
        .server(
            "test",
            process(&["--stderr", "listening for \u{1b}[1mcalls"]),
        )
        .build()
        .await
        .unwrap();
    let served = Served::start(manager, |admin| admin).await;
    call(&served.manager).await;
    let (_, detail) = served.get("/api/v1/mcp/servers/test").await;
    assert_eq!(detail["stderr"], json!(["listening for \\u{1b}[1mcalls"]));
    served.end().await;
}

#[tokio::test]
async fn every_json_that_names_a_server_names_it_by_one_key() {
    let manager = in_process(&TestServer::new(), trips_at_once()).await;
    let served = Served::start(manager, |admin| admin).await;
    run_out_of_time(&served.manager).await;
    served.manager.check_health("test").await.unwrap();
    let get = async |path: &str| served.get(&format!("/api/v1/mcp/{path}")).await.1;
    let post = async |path: &str| served.post(&format!("/api/v1/mcp/{path}")).await.1;
    for found in [
        &get("status").await["servers"][0],
        &get("pools").await[0],
        &get("pools/test").await,
        &get("servers").await[0],
        &get("servers/test").await,
        &get("config").await[0],
        &get("metrics/summary").await["pool_metrics"][0],
        &post("pools/test/health-check").await,
        &post("pools/test/reset").await,
        &post("pools/test/drain").await,
        &post("alerts/silence?server=test&kind=crash_loop").await,
        &serde_json::to_value(served.manager.status()).unwrap()["servers"][0],
        &serde_json::to_value(served.manager.pool_status("test").unwrap()).unwrap(),
        &serde_json::to_value(served.manager.settings("test").unwrap()).unwrap(),
    ] {
        assert_eq!(found["server"], "test", "{found}");
    }
    served.end().await;
}

#[tokio::test]
async fn a_parameter_that_a_route_does_not_know_is_refused_by_every_route() {
    let served = served().await;
    let (_, document) = served.get("/api/v1/openapi.json").await;
    let mut paths = vec![(Method::GET, "/api/v1/openapi.json".to_owned())];
    for (path, item) in document["paths"].as_object().unwrap() {
        for (key, method) in [("get", Method::GET), ("post", Method::POST)] {
            if item.get(key).is_some() {
                paths.push((method, path.replace("{server}", "test")));
            }
        }
    }
    assert_eq!(paths.len(), 18);
    for (method, path) in paths {
        let (status, problem) =
            common::json(served.request(method, &format!("{path}?sevrer=x"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(problem["field"], "sevrer", "{path}: {problem}");
    }
    served.end().await;
}
