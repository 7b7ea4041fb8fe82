//! Clients of both eras before servers of both eras, by rmcp's client.

use mcp_gateway::Gateway;
use mcp_testkit::{Era, TestServer, process::wait_until};
use rmcp::{
    ServiceExt as _,
    model::{
        GetPromptRequestParams, ProtocolVersion, ReadResourceRequestParams, ServerNotification,
        SubscriptionFilter,
    },
    service::{ClientLifecycleMode, RunningService, serve_client_with_lifecycle},
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{LONG, Person, Served, call, over_http, text};

async fn connect(url: &str, client: Era, person: Person) -> Connected {
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

type Connected = RunningService<rmcp::RoleClient, Person>;

/// Each cell: lists, results, errors, progress, a question of each kind, cancellation, and changes of a list.
async fn works(client_era: Era, server_era: Era) {
    let (server, manager) = over_http(server_era).await;
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

    let what = json!({"what": ["elicitation", "url", "sampling", "roots"]});
    let asked = timeout(LONG, client.call_tool(call("test__ask", what)))
        .await
        .unwrap()
        .unwrap();
    let said: Value = serde_json::from_str(&text(&asked)).unwrap();
    assert_eq!(
        said,
        json!({
            "elicitation": "ann", "url": "accepted", "sampling": "ann", "roots": "file:///ann",
        })
    );
    assert_eq!(*person.urls.lock(), ["https://example.com/consent"]);

    reads(&client).await;
    cancels(&client, server.server()).await;
    hears_of_changes(&client, client_era).await;
    client.cancel().await.unwrap();
    served.stop().await;
}

async fn reads(client: &Connected) {
    let mut greeting = GetPromptRequestParams::new("test__greeting");
    greeting.arguments = json!({ "name": "Ada" }).as_object().cloned();
    let greeting = client.get_prompt(greeting).await.unwrap();
    assert!(json!(greeting).to_string().contains("Say hello to Ada."));
    let readme = ReadResourceRequestParams::new("testkit://readme");
    let readme = client.read_resource(readme).await.unwrap();
    assert_eq!(json!(readme)["contents"][0]["text"], "A server for tests.");
}

/// Of a modern server over HTTP the stream of the call is closed, and no notification is sent.
async fn cancels(client: &Connected, server: &TestServer) {
    let sleeping = client.call_tool(call("test__sleep", json!({ "ms": 60_000 })));
    tokio::select! {
        ended = sleeping => panic!("{ended:?}"),
        is_under_way = wait_until(LONG, || server.calls_of("sleep") == 1) => assert!(is_under_way),
    }
    let is_cancelled = || server.cancelled() > 0 || !server.stats().interruptions.is_empty();
    assert!(wait_until(LONG, is_cancelled).await);
}

async fn hears_of_changes(client: &Connected, era: Era) {
    let mut listening = match era {
        Era::Modern => {
            let mut filter = SubscriptionFilter::default();
            filter.tools_list_changed = Some(true);
            Some(client.listen(filter).await.unwrap())
        }
        _ => None,
    };
    let names = json!({ "names": ["set_tools", "fresh"] });
    client
        .call_tool(call("test__set_tools", names))
        .await
        .unwrap();
    let changed = async {
        match &mut listening {
            Some(listening) => {
                let change = listening.next().await.unwrap().unwrap();
                assert!(matches!(
                    change,
                    ServerNotification::ToolListChangedNotification(_)
                ));
            }
            None => client.service().changes.notified().await,
        }
    };
    timeout(LONG, changed).await.unwrap();
    // rmcp's client keeps its own copy of the list, which it drops a moment after it has passed the change on.
    let listed = async {
        loop {
            let tools = client.list_all_tools().await.unwrap();
            if tools.iter().any(|tool| tool.name == "test__fresh") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, listed).await.unwrap();
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
