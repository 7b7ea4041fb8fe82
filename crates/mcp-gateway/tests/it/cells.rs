//! Clients of both eras before servers of both eras, by rmcp's client.

use mcp_gateway::Gateway;
use mcp_testkit::Era;
use rmcp::{
    ServiceExt as _,
    model::ProtocolVersion,
    service::{ClientLifecycleMode, RunningService, serve_client_with_lifecycle},
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{LONG, Person, Served, call, over_http, text};

async fn connect(
    url: &str,
    client: Era,
    person: Person,
) -> RunningService<rmcp::RoleClient, Person> {
    let transport = StreamableHttpClientTransport::from_uri(url);
    let connected = async {
        match client {
            Era::Modern => serve_client_with_lifecycle(
                person,
                transport,
                ClientLifecycleMode::Discover {
                    preferred_versions: vec![ProtocolVersion::V_2026_07_28],
                },
            )
            .await
            .unwrap(),
            _ => person.serve(transport).await.unwrap(),
        }
    };
    timeout(LONG, connected).await.unwrap()
}

/// Each cell: lists, results, errors, progress, and a question of each kind.
async fn works(client_era: Era, server_era: Era) {
    let (_server, manager) = over_http(server_era).await;
    let served = Served::start(Gateway::builder(manager)).await;
    let person = Person::named("ann");
    let client = connect(&served.url(), client_era, person.clone()).await;

    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.iter().any(|tool| tool.name == "test__echo"));
    let echoed = client
        .call_tool(call("test__echo", json!({"message": "hi"})))
        .await
        .unwrap();
    assert_eq!(text(&echoed), "hi");
    let sum = client
        .call_tool(call("test__add", json!({"a": 1, "b": 2})))
        .await
        .unwrap();
    assert_eq!(sum.structured_content, Some(json!({"sum": 3.0})));
    let failed = client
        .call_tool(call(
            "test__fail",
            json!({"code": 1234, "message": "no", "data": {"a": 1}}),
        ))
        .await;
    let rmcp::ServiceError::McpError(error) = failed.unwrap_err() else {
        panic!("the server's own error arrives");
    };
    assert_eq!(
        (error.code.0, &*error.message, error.data),
        (1234, "no", Some(json!({"a": 1})))
    );

    client
        .call_tool(call("test__progress", json!({"steps": 3, "ms": 1})))
        .await
        .unwrap();
    assert_eq!(*person.progress.lock(), [1.0, 2.0, 3.0]);

    let what = json!({"what": ["elicitation", "sampling", "roots"]});
    let asked = timeout(LONG, client.call_tool(call("test__ask", what)))
        .await
        .unwrap()
        .unwrap();
    let said: Value = serde_json::from_str(&text(&asked)).unwrap();
    assert_eq!(
        said,
        json!({"elicitation": "ann", "sampling": "ann", "roots": "file:///ann"})
    );
    client.cancel().await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn pain_40_pain_51_a_legacy_client_uses_all_of_a_legacy_server() {
    works(Era::Legacy, Era::Legacy).await;
}

#[tokio::test]
async fn pain_51_a_legacy_client_uses_all_of_a_modern_server() {
    works(Era::Legacy, Era::Modern).await;
}

#[tokio::test]
async fn pain_51_a_modern_client_uses_all_of_a_legacy_server() {
    works(Era::Modern, Era::Legacy).await;
}

#[tokio::test]
async fn pain_51_a_modern_client_uses_all_of_a_modern_server() {
    works(Era::Modern, Era::Modern).await;
}
