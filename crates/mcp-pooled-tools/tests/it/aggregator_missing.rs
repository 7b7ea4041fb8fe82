//! Servers that fail do not hide the tools of others.

use std::{sync::Arc, time::Duration};

use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, Listing, PoolSettings, Request, RequestOptions,
    core::{OpenErrorKind, connect::in_process::InProcess},
    rmcp::model::Tool,
};
use mcp_testkit::{Faults, Hang, Options, Paging, TestServer};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::common::{
    LONG,
    wired::{Trouble, Wired},
};

/// One that serves, one that cannot be reached, one that hangs, one that wants credentials, one without end.
async fn five() -> (ConnectionManager, Wired) {
    let dead = Wired::new(TestServer::new());
    dead.open_with(Trouble::Fails(OpenErrorKind::Unreachable));
    let refusing = Wired::new(TestServer::new());
    refusing.open_with(Trouble::Fails(OpenErrorKind::Unauthorized));
    let hanging = Wired::new(TestServer::with_faults(Faults {
        hang: Some(Hang::BeforeHandshake),
        ..Faults::default()
    }));
    let looping = TestServer::with_options(Options {
        paging: Paging::Looping,
        ..Options::default()
    });
    let good = TestServer::new();
    let settings = || PoolSettings::new().retry_attempts(0);
    let manager = ConnectionManager::builder()
        .connector("dead", dead.clone(), settings())
        .connector("good", InProcess::new(move || good.clone()), settings())
        .connector("hanging", hanging, settings())
        .connector(
            "looping",
            InProcess::new(move || looping.clone()),
            settings(),
        )
        .connector("refusing", refusing, settings())
        .build()
        .await
        .unwrap();
    (manager, dead)
}

/// Asserts that four of the five servers are missing, each for its reason.
pub(crate) fn assert_four_missing(tools: &Listing<Tool>) {
    let missing = tools.missing.iter();
    let missing: Vec<_> = missing
        .map(|missing| (&*missing.server, missing.error.kind()))
        .collect();
    assert_eq!(
        missing,
        [
            ("dead", ErrorKind::Connection),
            ("hanging", ErrorKind::Timeout),
            ("looping", ErrorKind::Protocol),
            ("refusing", ErrorKind::Authentication),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn pain_12_pain_32_of_five_servers_the_list_has_what_there_is_and_says_what_is_missing() {
    let (manager, dead) = five().await;
    let all = manager.aggregator();
    let began = Instant::now();
    let tools = all.list_all_tools().await.unwrap();
    assert!(
        began.elapsed() <= Duration::from_millis(5_100),
        "{:?}",
        began.elapsed()
    );
    let has = |name: &str| tools.iter().any(|tool| tool.name == name);
    assert!(
        has("good__echo") && has("looping__echo"),
        "a cut list is used as far as it goes"
    );
    assert_four_missing(&tools);
    let looping = tools.missing[2].error.to_string();
    assert!(
        looping.contains("cursor that it had given before"),
        "{looping}"
    );

    let began = Instant::now();
    let page = all
        .send(Request::new("tools/list"), RequestOptions::new())
        .await
        .unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "what hangs is waited for once: {:?}",
        began.elapsed()
    );
    let page: Value = serde_json::from_str(page.raw().get()).unwrap();
    let missing = page["_meta"]["mcp-pool/missing"].as_array().unwrap();
    let named: Vec<_> = missing
        .iter()
        .map(|missing| missing["server"].as_str().unwrap())
        .collect();
    assert_eq!(named, ["dead", "hanging", "looping", "refusing"]);
    assert!(
        missing[0]["error"].as_str().unwrap().contains("it is down"),
        "{missing:?}"
    );
    let instructions = all.peer_info().unwrap().instructions.clone().unwrap();
    assert!(
        instructions.starts_with("Not available at present: dead, hanging, refusing."),
        "{instructions}"
    );

    dead.come_up();
    let mut changes = all.list_changes();
    tokio::time::advance(Duration::from_secs(60)).await;
    let is_back = async || {
        let tools = all.list_all_tools().await.unwrap();
        tools.iter().any(|tool| tool.name == "dead__echo")
    };
    for _ in 0..20 {
        if is_back().await {
            return;
        }
        let _ = tokio::time::timeout(Duration::from_secs(30), changes.next()).await;
    }
    panic!("it is listed once it is up");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_server_that_serves_does_not_wait_for_one_that_hangs() {
    let (manager, _dead) = five().await;
    let all = Arc::new(manager.aggregator());
    let began = Instant::now();
    all.call("good__echo", json!({ "message": "m" }))
        .await
        .unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    let error = all.call("hanging__echo", json!({})).await.unwrap_err();
    assert!(error.to_string().contains("server `hanging`"), "{error}");
    assert!(began.elapsed() < LONG);
}
