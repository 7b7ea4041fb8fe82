//! Lists, pages, and everything that is not a tool call.
#![expect(
    deprecated,
    reason = "logging is deprecated in the protocol, and still in use"
)]

use rmcp::{
    ClientHandler, RoleClient,
    model::{
        ArgumentInfo, CompleteRequestParams, GetPromptRequestParams, LoggingLevel,
        PaginatedRequestParams, ReadResourceRequestParams, Reference, ServerNotification,
        SetLevelRequestParams, SubscriptionFilter, ToolAnnotations,
    },
    service::{ClientServiceExt, NotificationContext},
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::support::{self, SOON, discover, initialize, open, open_as};

#[tokio::test]
async fn every_tool_has_a_description_a_schema_and_annotations() {
    let pair = open("").await;
    let tools = pair.client.list_all_tools().await.unwrap();
    assert!(tools.len() > 20);
    for tool in &tools {
        assert!(
            tool.description.is_some() && tool.annotations.is_some(),
            "{}",
            tool.name
        );
        assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
    }
    let hints = |name: &str| -> ToolAnnotations {
        let tool = tools.iter().find(|tool| tool.name == name).unwrap();
        tool.annotations.clone().unwrap()
    };
    assert_eq!(hints("echo").read_only_hint, Some(true));
    assert_eq!(hints("echo").idempotent_hint, Some(true));
    assert_eq!(hints("count").read_only_hint, Some(false));
    assert_eq!(hints("count").idempotent_hint, Some(false));
}

#[tokio::test]
async fn a_list_in_five_pages_is_whole_and_in_order() {
    let whole = open("").await.client.list_all_tools().await.unwrap();
    for lifecycle in [initialize(), discover()] {
        let paged = open_as("--pages 5", lifecycle).await.unwrap();
        assert_eq!(paged.client.list_all_tools().await.unwrap(), whole);

        let mut pages = 0;
        let mut cursor = None;
        loop {
            let request = PaginatedRequestParams::default().with_cursor(cursor);
            cursor = paged
                .client
                .list_tools(Some(request))
                .await
                .unwrap()
                .next_cursor;
            pages += 1;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(pages, 5);
    }
}

#[tokio::test]
async fn modern_lists_carry_the_hints_for_caches_that_were_asked_for() {
    let pair = open_as("--list-ttl 1500 --private-lists", discover())
        .await
        .unwrap();
    let list = pair.client.list_tools(None).await.unwrap();
    assert_eq!(list.ttl_ms, Some(1500));
    assert_eq!(list.cache_scope, Some(rmcp::model::CacheScope::Private));
}

#[tokio::test]
async fn prompts_resources_templates_completion_and_log_level_are_all_there() {
    for lifecycle in [initialize(), discover()] {
        let client = open_as("", lifecycle).await.unwrap().client;
        assert_eq!(client.list_all_prompts().await.unwrap().len(), 2);
        assert_eq!(client.list_all_resources().await.unwrap().len(), 2);
        assert_eq!(client.list_all_resource_templates().await.unwrap().len(), 1);

        let arguments = json!({"name": "you"}).as_object().unwrap().clone();
        let request = GetPromptRequestParams::new("greeting").with_arguments(arguments);
        let prompt = client.get_prompt(request).await.unwrap();
        assert!(
            serde_json::to_string(&prompt)
                .unwrap()
                .contains("hello to you")
        );

        let request = ReadResourceRequestParams::new("testkit://item/7");
        let item = client.read_resource(request).await.unwrap();
        assert!(serde_json::to_string(&item).unwrap().contains("item 7"));
        assert!(
            client
                .read_resource(ReadResourceRequestParams::new("testkit://no"))
                .await
                .is_err()
        );

        let argument = ArgumentInfo::new("language", "r");
        let request = CompleteRequestParams::new(Reference::for_prompt("review"), argument);
        let completion = client.complete(request).await.unwrap().completion;
        assert_eq!(completion.values, ["Ruby", "Rust"]);

        client
            .set_level(SetLevelRequestParams::new(LoggingLevel::Debug))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn set_tools_replaces_the_list_and_tells_a_legacy_client() {
    let (changes, mut changed) = mpsc::unbounded_channel();
    let (child, _) = support::spawn("");
    let client = Listener { changes }
        .serve_with_lifecycle(child, initialize())
        .await
        .unwrap();
    let arguments = json!({"names": ["echo", "novelty"]})
        .as_object()
        .unwrap()
        .clone();
    let request = rmcp::model::CallToolRequestParams::new("set_tools").with_arguments(arguments);
    client.call_tool(request).await.unwrap();

    tokio::time::timeout(SOON, changed.recv())
        .await
        .unwrap()
        .unwrap();
    let tools = client.list_all_tools().await.unwrap();
    let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
    assert_eq!(names, ["echo", "novelty"]);
}

#[tokio::test]
async fn set_tools_tells_a_modern_client_that_subscribed() {
    let pair = open_as("", discover()).await.unwrap();
    let filter = SubscriptionFilter::builder().tools_list_changed().build();
    let mut subscription = pair.client.listen(filter).await.unwrap();
    pair.ask("set_tools", json!({"names": ["echo"]})).await;
    let change = tokio::time::timeout(SOON, subscription.next())
        .await
        .unwrap();
    assert!(matches!(
        change,
        Ok(Some(ServerNotification::ToolListChangedNotification(_)))
    ));
}

#[tokio::test]
async fn tools_that_are_not_listed_cannot_be_called_and_made_up_ones_can() {
    let pair = open("").await;
    pair.ask("set_tools", json!({"names": ["novelty"]})).await;
    assert_eq!(pair.ask("novelty", json!({"message": "new"})).await, "new");
    assert!(pair.call("echo", json!({"message": "old"})).await.is_err());
    pair.ask("set_tools", json!({})).await;
    assert_eq!(pair.ask("echo", json!({"message": "old"})).await, "old");
}

struct Listener {
    changes: mpsc::UnboundedSender<()>,
}

impl ClientHandler for Listener {
    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.changes.send(()).unwrap();
    }
}
