//! One block of code, over the plain client and over the pooled one.

#![allow(
    deprecated,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests: tasks are joined here, and a panic is a verdict"
)]

use crate::common;
use std::sync::Arc;

use common::{in_process, text};
use mcp_pooled_tools::{ErrorKind, PoolSettings, Tools};
use mcp_testkit::TestServer;
use rmcp::{
    RoleClient, ServiceExt,
    model::{
        ArgumentInfo, CallToolRequestParams, CallToolResponse, CancelledNotification,
        CancelledNotificationParam, ClientNotification, ClientRequest, CompleteRequestParams,
        GetPromptRequestParams, GetPromptResponse, JsonObject, LoggingLevel,
        PaginatedRequestParams, PingRequest, ReadResourceRequestParams, ReadResourceResponse,
        Reference, RequestId, SetLevelRequestParams, SubscribeRequestParams,
        UnsubscribeRequestParams,
    },
    service::{PeerRequestOptions, RunningService, ServiceError},
};
use serde_json::{Value, json};

/// Everything a program does with a client, written once. Only `$client` differs. Returns all results.
macro_rules! program {
    ($client:expr) => {{
        let client = $client;
        let page = client
            .list_tools(Some(PaginatedRequestParams::default()))
            .await?;
        let tools = client.list_all_tools().await?;
        let echo = CallToolRequestParams::new("echo").with_arguments(object("message", "hello"));
        let echoed = client.call_tool(echo.clone()).await?;
        let CallToolResponse::Complete(once) = client.call_tool_once(echo).await? else {
            panic!("echo asks for nothing");
        };
        let prompts = client.list_all_prompts().await?;
        let prompt = GetPromptRequestParams::new(prompts[0].name.clone())
            .with_arguments(object("name", "Ada"));
        let resources = client.list_all_resources().await?;
        let resource = ReadResourceRequestParams::new(resources[0].uri.clone());
        client.set_level(level()).await?;
        let unknown = client
            .call_tool(CallToolRequestParams::new("no such tool"))
            .await;
        let info = client.peer_info().expect("a session has been opened");
        let limited = CallToolRequestParams::new("echo").with_arguments(object("message", "hi"));
        let limited = client.call_tool_with_mrtr_max_rounds(limited, 1).await?;
        let simple = client.complete_prompt_simple("review", "language", "r");
        let completed = simple.await?;
        let argument = client.complete_prompt_argument("review", "language", "r", None);
        let argument = argument.await?;
        let subscription = SubscribeRequestParams::new(resources[0].uri.clone());
        client.subscribe(subscription).await?;
        let subscription = UnsubscribeRequestParams::new(resources[0].uri.clone());
        client.unsubscribe(subscription).await?;
        client.notify_roots_list_changed().await?;
        let ping = || ClientRequest::PingRequest(PingRequest::default());
        let pong = client.peer().send_request(ping()).await?;
        let options = PeerRequestOptions::no_options();
        let sent = client.send_cancellable_request(ping(), options).await?;
        let awaited = sent.await_response().await?;
        let read_once = client.read_resource_once(resource.clone()).await?;
        let ReadResourceResponse::Complete(read) = read_once else {
            panic!("the resource asks for nothing");
        };
        let filled_once = client.get_prompt_once(prompt.clone()).await?;
        let GetPromptResponse::Complete(filled) = filled_once else {
            panic!("the prompt asks for nothing");
        };
        let open = !client.is_closed() && !client.is_transport_closed();
        Ok::<_, ServiceError>([
            ("tools", json!(tools)),
            ("a page of tools", json!(page.tools)),
            ("echoed", json!(text(&echoed))),
            ("once", json!(text(&once))),
            ("prompts", json!(prompts)),
            (
                "a page of prompts",
                json!(client.list_prompts(None).await?.prompts),
            ),
            ("prompt", json!(client.get_prompt(prompt).await?.messages)),
            ("resources", json!(resources)),
            (
                "a page of resources",
                json!(client.list_resources(None).await?.resources),
            ),
            (
                "resource",
                json!(client.read_resource(resource).await?.contents),
            ),
            (
                "templates",
                json!(client.list_all_resource_templates().await?),
            ),
            (
                "a page of templates",
                json!(
                    client
                        .list_resource_templates(None)
                        .await?
                        .resource_templates
                ),
            ),
            (
                "completed",
                json!(client.complete(completion()).await?.completion.values),
            ),
            ("unknown tool", json!(unknown.is_err())),
            ("limited", json!(text(&limited))),
            ("simple completion", json!(completed)),
            ("completion of an argument", json!(argument.values)),
            ("pong", json!(pong)),
            ("awaited", json!(awaited)),
            ("read once", json!(read.contents)),
            ("filled in once", json!(filled.messages)),
            ("open", json!(open)),
            ("server", json!(info.server_info)),
        ])
    }};
}

fn object(key: &str, value: &str) -> JsonObject {
    JsonObject::from_iter([(key.to_owned(), value.into())])
}

fn completion() -> CompleteRequestParams {
    CompleteRequestParams::new(
        Reference::for_prompt("review"),
        ArgumentInfo::new("language", "r"),
    )
}

fn level() -> SetLevelRequestParams {
    SetLevelRequestParams::new(LoggingLevel::Info)
}

#[tokio::test]
async fn one_block_of_code_runs_over_the_plain_client_and_over_the_pooled_one() {
    let server = TestServer::new();
    let plain: RunningService<RoleClient, ()> = ().serve(server.connect()).await.unwrap();
    let manager = in_process(
        &server,
        PoolSettings::new().lifecycle(mcp_pooled_tools::config::Lifecycle::Initialize),
    )
    .await;
    let pooled = manager.tools("test").unwrap();

    let over_plain = async { program!(&plain) }.await.unwrap();
    let over_pooled = async { program!(&pooled) }.await.unwrap();
    for ((what, plain), (_, pooled)) in over_plain.iter().zip(&over_pooled) {
        assert_eq!(plain, pooled, "{what}");
        let told_something = match plain {
            Value::Array(items) => !items.is_empty(),
            Value::Bool(yes) => *yes,
            other => !other.is_null(),
        };
        assert!(
            told_something,
            "{what} is not alike by being empty: {plain}"
        );
    }
    assert_eq!(over_pooled[2].1, "hello");
    plain.cancel().await.unwrap();
    pooled.cancel().await.unwrap();
    manager.shutdown().await;
}

#[tokio::test]
async fn code_over_the_trait_takes_any_client() {
    async fn sum(tools: Arc<dyn Tools>) -> (usize, String) {
        let schema = tools.tool_schema("echo").await.unwrap();
        assert!(schema.contains_key("properties"));
        let arguments = serde_json::json!({ "message": "x" })
            .as_object()
            .cloned()
            .expect("an object");
        let result = tools
            .call_tool(CallToolRequestParams::new("echo").with_arguments(arguments))
            .await
            .unwrap();
        (tools.list_all_tools().await.unwrap().len(), text(&result))
    }
    let server = TestServer::new();
    let plain = ().serve(server.connect()).await.unwrap();
    let manager = in_process(&server, PoolSettings::new()).await;
    let clients: [Arc<dyn Tools>; 3] = [
        Arc::new(plain),
        Arc::new(manager.tools("test").unwrap()),
        Arc::new(manager.direct_tools("test").unwrap()),
    ];
    let mut answers = Vec::new();
    for client in clients {
        answers.push(sum(client).await);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_protocol_error_travels_intact() {
    let server = TestServer::new();
    let manager = in_process(&server, PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    let error = tools
        .call("fail", serde_json::json!({ "code": -32042, "message": "no luck", "data": { "why": "because" } }))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    let data = error.protocol().expect("the server's own error");
    assert_eq!((data.code.0, data.message.as_ref()), (-32042, "no luck"));
    assert_eq!(data.data.as_ref().unwrap()["why"], "because");
    let plain: ServiceError = error.into();
    assert!(matches!(plain, ServiceError::McpError(data) if data.code.0 == -32042));
    manager.shutdown().await;
}

/// Its id is that of a request of one session, and another request's on the others.
#[tokio::test]
async fn a_cancellation_is_not_sent_to_sessions_that_know_nothing_of_it() {
    let manager = in_process(&TestServer::new(), PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    tools.call("echo", json!({ "message": "m" })).await.unwrap();
    let params = CancelledNotificationParam::new(Some(RequestId::Number(1)), None);
    let cancelled = CancelledNotification::new(params);
    let refused = tools.send_notification(ClientNotification::CancelledNotification(cancelled));
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Validation, "{refused}");
    assert!(refused.to_string().contains("PendingRequest"), "{refused}");
}

#[tokio::test]
async fn pain_05_one_open_serves_every_later_call() {
    let server = TestServer::new();
    let manager = in_process(&server, PoolSettings::new().min_connections(1)).await;
    let tools = manager.tools("test").unwrap();
    for n in 0..50 {
        let result = tools
            .call("echo", serde_json::json!({ "message": n.to_string() }))
            .await
            .unwrap();
        assert_eq!(text(&result), n.to_string());
    }
    let status = manager.pool_status("test").unwrap();
    assert_eq!(
        (status.opened, status.pool_misses, status.pool_hits),
        (1, 1, 49)
    );
    manager.shutdown().await;
}
