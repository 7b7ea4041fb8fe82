//! Headers of a client that are passed on to a server.

use mcp_gateway::Gateway;
use mcp_pooled_tools::{ConnectionManager, PoolSettings, ServerConfig};
use mcp_testkit::scripted_http::ScriptedHttp;
use serde_json::json;

use crate::common::{
    Served,
    edge::{ANN, body, config, request},
    raw::{self, Legacy},
};

/// A gateway to two servers, of which `files` receives `X-Tenant`.
async fn two_servers() -> (ScriptedHttp, ScriptedHttp, Served) {
    let files = ScriptedHttp::start(|_| None).await;
    let other = ScriptedHttp::start(|_| None).await;
    let gateway = json!({ "forward_headers": { "files": ["X-Tenant"] } });
    let manager = ConnectionManager::builder()
        .gateway(config(gateway))
        .server("files", ServerConfig::http(files.url()))
        .server("other", ServerConfig::http(other.url()))
        .defaults(PoolSettings::new().retry_attempts(0).min_connections(0))
        .build()
        .await
        .unwrap();
    let served = Served::start(Gateway::builder(manager)).await;
    (files, other, served)
}

/// The tenants of the calls, with their sessions.
fn calls(server: &ScriptedHttp) -> Vec<(Option<String>, String)> {
    let asked = server.asked().into_iter();
    let calls = asked.filter(|asked| asked.method() == "tools/call");
    let header = |asked: &mcp_testkit::scripted_http::Asked, name: &str| {
        asked.header(name).map(str::to_owned)
    };
    calls
        .map(|asked| {
            let session = header(&asked, "mcp-session-id").unwrap_or_default();
            (header(&asked, "x-tenant"), session)
        })
        .collect()
}

#[tokio::test]
async fn a_named_header_reaches_its_server_alone_and_other_values_share_no_session() {
    let (files, other, served) = two_servers().await;
    for tenant in ["one", "two", "one"] {
        for tool in ["files__echo", "other__echo"] {
            let params = json!({ "name": tool, "arguments": { "message": "a" } });
            let call = request(&served, ANN, "tools/call", params);
            let call = call.header("x-tenant", tenant).header("x-secret", "s");
            let called = body(call.send().await.unwrap()).await;
            assert!(called["result"].is_object(), "{called}");
        }
    }
    let reached = calls(&files);
    let tenants: Vec<_> = reached
        .iter()
        .map(|(tenant, _)| tenant.as_deref())
        .collect();
    assert_eq!(tenants, [Some("one"), Some("two"), Some("one")]);
    assert_ne!(reached[0].1, reached[1].1, "sessions of their own");
    assert!(calls(&other).iter().all(|(tenant, _)| tenant.is_none()));
    for asked in files.asked().iter().chain(&other.asked()) {
        assert_eq!(asked.header("x-secret"), None);
        assert_eq!(asked.header("authorization"), None);
    }
    served.stop().await;
}

#[tokio::test]
async fn a_session_id_with_another_value_of_a_forwarded_header_is_another_session_with_the_server()
{
    let (files, _other, served) = two_servers().await;
    let client = Legacy::open(&served.url(), json!({})).await;
    for tenant in ["one", "two"] {
        let params = json!({ "name": "files__echo", "arguments": { "message": "a" } });
        let call = client.post().header("x-tenant", tenant);
        let call = call.json(&raw::request(1, "tools/call", params));
        assert_eq!(call.send().await.unwrap().status(), 200);
    }
    let reached = calls(&files);
    let tenants: Vec<_> = reached
        .iter()
        .map(|(tenant, _)| tenant.as_deref())
        .collect();
    assert_eq!(tenants, [Some("one"), Some("two")]);
    assert_ne!(reached[0].1, reached[1].1);
    served.stop().await;
}
