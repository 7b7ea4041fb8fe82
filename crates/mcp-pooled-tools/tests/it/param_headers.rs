//! Tools that want an argument repeated in a header, as modern HTTP servers may.

use crate::common;
use common::{manager, text};
use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, PoolSettings, ServerConfig, config::Lifecycle,
};
use mcp_testkit::{Era, HttpOptions, HttpServer};
use rmcp::model::{CallToolRequestParams, CallToolResponse};
use serde_json::json;

const LISTS: &str = "tools/list";

async fn modern() -> HttpServer {
    HttpServer::start(HttpOptions {
        era: Era::Modern,
        ..HttpOptions::default()
    })
    .await
}

async fn pool(server: &HttpServer) -> ConnectionManager {
    let settings = PoolSettings::new()
        .lifecycle(Lifecycle::Discover)
        .max_in_flight(1);
    manager(ServerConfig::http(server.url()), settings).await
}

/// Changes the server's tools where no session of the pool under test learns of it in time.
async fn set_tools(server: &HttpServer, names: &[&str]) {
    let manager = pool(server).await;
    let tools = manager.tools("test").unwrap();
    tools
        .call("set_tools", json!({ "names": names }))
        .await
        .unwrap();
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_sent_the_headers_it_wants_on_every_fresh_session() {
    let server = modern().await;
    let manager = pool(&server).await;
    let tools = manager.tools("test").unwrap();
    // The very first call, before anybody has listed anything.
    let first = tools.call("located", json!({ "region": "north" })).await;
    assert_eq!(text(&first.unwrap()), "north");
    let mut held = Vec::new();
    for region in ["south", "east", "west"] {
        let session = tools.session().await.unwrap();
        let answer = session.call("located", json!({ "region": region })).await;
        assert_eq!(text(&answer.unwrap()), region);
        held.push(session);
    }
    assert_eq!(server.server().calls_of("located"), 4);
    drop(held);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_tool_wants_any_the_first_session_lists_and_no_other() {
    let server = modern().await;
    set_tools(&server, &["echo"]).await;
    let before = server.server().requests_of(LISTS);
    let manager = pool(&server).await;
    let tools = manager.tools("test").unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        let session = tools.session().await.unwrap();
        common::echo(&session, "m").await;
        held.push(session);
    }
    assert_eq!(server.server().requests_of(LISTS), before + 1);
    drop(held);
    manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_that_comes_to_want_a_header_gets_it() {
    let server = modern().await;
    set_tools(&server, &["echo"]).await;
    let manager = pool(&server).await;
    let tools = manager.tools("test").unwrap();
    common::echo(&tools, "m").await;
    set_tools(&server, &["echo", "located"]).await;

    let params = || {
        CallToolRequestParams::new("located")
            .with_arguments(json!({ "region": "north" }).as_object().cloned().unwrap())
    };
    let answer = tools.call_tool(params()).await.unwrap();
    assert_eq!(text(&answer), "north");
    let CallToolResponse::Complete(answer) = tools.call_tool_once(params()).await.unwrap() else {
        panic!("it asks for nothing");
    };
    assert_eq!(text(&answer), "north");
    assert_eq!(
        server.server().calls_of("located"),
        2,
        "it ran once for each call"
    );

    // A refusal that no new list can mend is reported in the server's words.
    let error = tools.call("located", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    manager.shutdown().await;
}
