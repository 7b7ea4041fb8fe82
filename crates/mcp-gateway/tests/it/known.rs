//! What is answered without a server, and what in spite of some.

use std::{path::Path, time::Duration};

use axum::body::{Body, to_bytes};
use http::Request;
use mcp_gateway::{Gateway, Principal};
use mcp_pooled_tools::{
    ConnectionManager, ConnectionManagerBuilder, PoolSettings, ServerConfig,
    core::connect::in_process::InProcess,
};
use mcp_testkit::{
    Era, Faults, Hang, HttpOptions, HttpServer, Options, Paging, TestServer,
    process::{by_marker, wait_gone},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::common::{LONG, Served, load::Caller, raw};

const SERVERS: usize = 20;

async fn twenty_processes(marker: &str, catalogue: &Path) -> ConnectionManager {
    let settings = PoolSettings::new().min_connections(0);
    let builder = ConnectionManager::builder().defaults(settings);
    let mut builder: ConnectionManagerBuilder = builder.catalogue(catalogue);
    for number in 0..SERVERS {
        let process = ServerConfig::stdio(mcp_testkit::binary().to_string_lossy());
        let process = process.args(["--marker", marker]);
        builder = builder.server(format!("s{number:02}"), process);
    }
    builder.build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_known_servers_are_initialized_and_listed_without_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let marker = format!("gateway-known-{}", std::process::id());
    let first = twenty_processes(&marker, folder.path()).await;
    let listed = first.aggregator().list_all_tools().await.unwrap();
    assert!(listed.missing.is_empty(), "{:?}", listed.missing);
    let started = by_marker(&marker);
    assert_eq!(started.len(), SERVERS);
    first.shutdown().await;
    assert!(wait_gone(started, LONG).await);

    let second = twenty_processes(&marker, folder.path()).await;
    let served = Served::start(Gateway::builder(second)).await;
    for client in [
        Caller::legacy(&served.url()).await,
        Caller::modern(&served.url()),
    ] {
        let list = async |list: &str| {
            let page = client.send(1, &format!("{list}/list"), json!({})).await;
            assert!(page["result"]["_meta"]["mcp-pool/missing"].is_null());
            let items = page["result"][list].as_array();
            items.unwrap_or_else(|| panic!("{page}")).len()
        };
        assert_eq!(list("tools").await, listed.len());
        assert!(list("prompts").await >= SERVERS);
        assert!(list("resources").await >= SERVERS);
    }
    assert!(by_marker(&marker).is_empty());
    // The first call starts the one server that it is for.
    let client = Caller::modern(&served.url());
    let said = client
        .call(2, "s07__echo", json!({ "message": "hi" }))
        .await;
    assert_eq!(said["result"]["content"][0]["text"], "hi");
    assert_eq!(by_marker(&marker).len(), 1);
    served.stop().await;
}

/// A request of a client of this machine, without a socket, so that virtual time holds.
async fn ask(
    gateway: &Gateway,
    session: Option<&str>,
    method: &str,
    params: Value,
) -> (Value, String) {
    let body = raw::request(1, method, params).to_string();
    let mut request = Request::post("/mcp")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .extension(Principal::local());
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    let request = request.body(Body::from(body)).unwrap();
    let response = gateway.router().oneshot(request).await.unwrap();
    let session = response.headers().get("mcp-session-id");
    let session = session.map_or_else(String::new, |id| id.to_str().unwrap().to_owned());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = std::str::from_utf8(&body).unwrap();
    let mut data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let message = serde_json::from_str(data.next_back().unwrap_or(text));
    (message.unwrap_or_else(|_| panic!("{text}")), session)
}

fn initialize() -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": { "name": "raw", "version": "1" },
    })
}

#[tokio::test(start_paused = true)]
async fn initialize_is_answered_at_once_before_twenty_cold_servers_of_which_three_hang() {
    let mut builder = ConnectionManager::builder();
    for number in 0..SERVERS {
        let hang = (number < 3).then_some(Hang::BeforeHandshake);
        let server = TestServer::with_faults(Faults {
            hang,
            ..Faults::default()
        });
        let settings = PoolSettings::new().min_connections(0);
        let connector = InProcess::new(move || server.clone());
        builder = builder.connector(format!("s{number:02}"), connector, settings);
    }
    let gateway = Gateway::builder(builder.build().await.unwrap());
    let gateway = gateway.build().unwrap();
    let began = Instant::now();
    let (welcome, session) = ask(&gateway, None, "initialize", initialize()).await;
    assert!(
        began.elapsed() <= Duration::from_millis(100),
        "{:?}",
        began.elapsed()
    );
    assert!(
        welcome["result"]["capabilities"]["tools"].is_object(),
        "{welcome}"
    );

    let began = Instant::now();
    let (page, _) = ask(&gateway, Some(&session), "tools/list", json!({})).await;
    let limit = Duration::from_millis(5_100);
    assert!(began.elapsed() <= limit, "{:?}", began.elapsed());
    assert_eq!(missing(&page), ["s00", "s01", "s02"]);
    let names = page["result"]["tools"].to_string();
    assert!((3..SERVERS).all(|number| names.contains(&format!("\"s{number:02}__echo\""))));
}

#[tokio::test(start_paused = true)]
async fn known_servers_are_initialized_and_listed_without_a_wait_for_any_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let manager = async |hang: Option<Hang>| {
        let mut builder = ConnectionManager::builder().catalogue(folder.path());
        for number in 0..SERVERS {
            // Modern ones say that their lists are private, and such lists of a connector are not kept.
            let server = TestServer::with_faults(Faults {
                hang,
                ..Faults::default()
            })
            .with_era(Era::Legacy);
            let settings = PoolSettings::new().min_connections(0);
            let connector = InProcess::new(move || server.clone());
            builder = builder.connector(format!("s{number:02}"), connector, settings);
        }
        builder.build().await.unwrap()
    };
    let first = manager(None).await;
    let listed = first.aggregator().list_all_tools().await.unwrap();
    first.shutdown().await;

    let second = manager(Some(Hang::BeforeHandshake)).await;
    let gateway = Gateway::builder(second).build().unwrap();
    let began = Instant::now();
    let (_, session) = ask(&gateway, None, "initialize", initialize()).await;
    let (page, _) = ask(&gateway, Some(&session), "tools/list", json!({})).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    let tools = page["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.len(), listed.len());
    assert!(page["result"]["_meta"].is_null(), "{page}");
}

/// The servers that a page names as missing.
fn missing(page: &Value) -> Vec<&str> {
    let missing = page["result"]["_meta"]["mcp-pool/missing"].as_array();
    let missing = missing.unwrap_or_else(|| panic!("{page}")).iter();
    missing
        .map(|missing| missing["server"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_dead_one_hanging_one_401_and_one_looping_of_five_leave_the_rest_and_are_named() {
    let refusing = HttpServer::start(HttpOptions {
        status: Some(401),
        ..HttpOptions::default()
    })
    .await;
    let looping = TestServer::with_options(Options {
        paging: Paging::Looping,
        ..Options::default()
    });
    let hanging = TestServer::with_faults(Faults {
        hang: Some(Hang::BeforeHandshake),
        ..Faults::default()
    });
    let settings = || PoolSettings::new().min_connections(0).retry_attempts(0);
    let good = TestServer::new();
    let process =
        |fault: [&str; 2]| ServerConfig::stdio(mcp_testkit::binary().to_string_lossy()).args(fault);
    let manager = ConnectionManager::builder()
        .defaults(settings())
        .server("dead", process(["--exit", "3"]))
        .connector("good", InProcess::new(move || good.clone()), settings())
        .connector(
            "hanging",
            InProcess::new(move || hanging.clone()),
            settings(),
        )
        .connector(
            "looping",
            InProcess::new(move || looping.clone()),
            settings(),
        )
        .server("refusing", ServerConfig::http(refusing.url()))
        .build()
        .await
        .unwrap();
    let served = Served::start(Gateway::builder(manager)).await;
    for client in [
        Caller::legacy(&served.url()).await,
        Caller::modern(&served.url()),
    ] {
        let page = client.send(1, "tools/list", json!({})).await;
        assert_eq!(missing(&page), ["dead", "hanging", "looping", "refusing"]);
        let names = page["result"]["tools"].to_string();
        assert!(names.contains("\"good__echo\"") && names.contains("\"looping__echo\""));
        let said = client
            .call(2, "good__echo", json!({ "message": "hi" }))
            .await;
        assert_eq!(said["result"]["content"][0]["text"], "hi");
    }
    served.stop().await;
}
