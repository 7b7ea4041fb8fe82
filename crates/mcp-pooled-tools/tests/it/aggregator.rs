//! Several servers as one client.

#![allow(
    deprecated,
    reason = "log levels and subscriptions are deprecated by the protocol, and still part of the plain client"
)]

use std::time::Duration;

use mcp_pooled_tools::{
    Aggregator, AggregatorSettings, ConnectionManager, ErrorKind, Exposure, Identity, PoolSettings,
    Prefix, core::connect::in_process::InProcess,
};
use mcp_testkit::{Era, TestServer};
use rmcp::{
    RoleClient, ServiceExt as _,
    model::{
        ArgumentInfo, CallToolRequestParams, CallToolResponse, ClientRequest,
        CompleteRequestParams, GetPromptRequestParams, LoggingLevel, PaginatedRequestParams,
        PingRequest, ReadResourceRequestParams, Reference, SetLevelRequestParams,
        SubscribeRequestParams, UnsubscribeRequestParams,
    },
    service::{RunningService, ServiceError},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    time::timeout,
};

use crate::common::{LONG, text};

/// A manager of test servers by name.
pub(crate) async fn servers(
    named: &[(&str, &TestServer)],
    and: impl FnOnce(
        mcp_pooled_tools::ConnectionManagerBuilder,
    ) -> mcp_pooled_tools::ConnectionManagerBuilder,
) -> ConnectionManager {
    let mut builder = ConnectionManager::builder();
    for (name, server) in named {
        let server = (*server).clone();
        let connector = InProcess::new(move || server.clone());
        builder = builder.connector(*name, connector, PoolSettings::new());
    }
    and(builder).build().await.unwrap()
}

async fn two() -> (TestServer, TestServer, ConnectionManager) {
    let (one, two) = (TestServer::new(), TestServer::new().with_era(Era::Legacy));
    let manager = servers(&[("one", &one), ("two", &two)], |builder| builder).await;
    (one, two, manager)
}

async fn names(all: &Aggregator) -> Vec<String> {
    let tools = all.list_all_tools().await.unwrap();
    assert!(tools.missing.is_empty(), "{:?}", tools.missing);
    tools.iter().map(|tool| tool.name.to_string()).collect()
}

#[tokio::test]
async fn pain_23_tools_and_prompts_are_called_by_their_exposed_names() {
    let (one, two, manager) = two().await;
    let all = manager.aggregator();
    let called = all
        .call("two__echo", json!({ "message": "before any list" }))
        .await
        .unwrap();
    assert_eq!(text(&called), "before any list");
    assert_eq!((one.calls(), two.calls_of("echo")), (0, 1));
    let names = names(&all).await;
    assert!(names.contains(&"one__echo".to_owned()) && names.contains(&"two__echo".to_owned()));

    let prompts = all.list_all_prompts().await.unwrap();
    let named: Vec<_> = prompts.iter().map(|prompt| prompt.name.as_str()).collect();
    assert_eq!(
        named,
        [
            "one__greeting",
            "one__review",
            "two__greeting",
            "two__review"
        ]
    );
    let arguments = json!({ "name": "Ada" }).as_object().cloned().unwrap();
    let params = GetPromptRequestParams::new("one__greeting").with_arguments(arguments);
    let prompt = all.get_prompt(params).await.unwrap();
    assert!(
        json!(prompt.messages)
            .to_string()
            .contains("Say hello to Ada.")
    );
    assert_eq!(one.requests_of("prompts/get"), 1);

    let params = CompleteRequestParams::new(
        Reference::for_prompt("two__review"),
        ArgumentInfo::new("language", "r"),
    );
    let completion = all.complete(params).await.unwrap().completion;
    assert_eq!(completion.values, ["Ruby", "Rust"]);
    assert_eq!(two.requests_of("completion/complete"), 1);
    manager.shutdown().await;
}

#[tokio::test]
async fn pain_39_a_resource_is_read_where_it_is_and_its_uri_names_its_server_where_two_have_it() {
    let (one, two, manager) = two().await;
    let all = manager.aggregator();
    let resources = all.list_all_resources().await.unwrap();
    assert_eq!(resources.len(), 4);
    let of_two = "mcp+two:testkit%3A%2F%2Freadme";
    assert!(resources.iter().any(|resource| resource.uri == of_two));
    let read = all
        .read_resource(ReadResourceRequestParams::new(of_two))
        .await
        .unwrap();
    let contents = json!(read.contents);
    assert_eq!(
        (&contents[0]["text"], &contents[0]["uri"]),
        (&json!("A server for tests."), &json!(of_two))
    );
    assert_eq!(
        (
            one.requests_of("resources/read"),
            two.requests_of("resources/read")
        ),
        (0, 1)
    );

    let templates = all.list_all_resource_templates().await.unwrap();
    assert_eq!(templates[1].uri_template, "mcp+two:testkit://item/{number}");
    let item = all
        .read_resource(ReadResourceRequestParams::new("mcp+two:testkit://item/7"))
        .await;
    assert!(json!(item.unwrap().contents).to_string().contains("item 7"));
    let ambiguous = all
        .read_resource(ReadResourceRequestParams::new("testkit://item/7"))
        .await;
    let error = ambiguous.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("mcp+one:testkit%3A%2F%2Fitem%2F7"),
        "{error}"
    );

    let alone = all.select(["mcp.one"]).unwrap();
    let resources = alone.list_all_resources().await.unwrap();
    assert_eq!(
        resources[0].uri, "testkit://readme",
        "unchanged while unique"
    );
    let read = alone
        .read_resource(ReadResourceRequestParams::new("testkit://item/9"))
        .await;
    assert!(read.is_ok());
    manager.shutdown().await;
}

#[tokio::test]
async fn what_is_filtered_is_neither_listed_nor_called() {
    let (one, two) = (TestServer::new(), TestServer::new());
    let manager = servers(&[("one", &one), ("two", &two)], |builder| {
        let only = Exposure::new()
            .allow(["echo", "count*"])
            .deny(["counted"])
            .alias("echo", "say");
        builder
            .expose("one", only.description("echo", "Says it."))
            .expose("two", Exposure::new().allow(["echo"]))
    })
    .await;
    let all = manager.aggregator();
    assert_eq!(names(&all).await, ["one__say", "one__count", "two__echo"]);
    let tools = all.list_all_tools().await.unwrap();
    assert_eq!(tools[0].description.as_deref(), Some("Says it."));
    let said = all
        .call("one__say", json!({ "message": "m" }))
        .await
        .unwrap();
    assert_eq!(text(&said), "m");
    for denied in ["one__echo", "one__counted", "mcp.one.counted"] {
        let error = all
            .call(denied, json!({ "message": "m" }))
            .await
            .unwrap_err();
        assert_eq!(
            error.protocol().unwrap().code.0,
            -32_602,
            "{denied}: {error}"
        );
    }
    assert_eq!((one.calls(), one.calls_of("counted")), (1, 0));
    manager.shutdown().await;
}

#[tokio::test]
async fn without_prefixes_a_name_that_two_servers_have_is_refused_and_says_why() {
    let (one, two) = (TestServer::new(), TestServer::new());
    let manager = servers(&[("one", &one), ("two", &two)], |builder| {
        builder
            .aggregator(AggregatorSettings::new().prefix(Prefix::Never))
            .expose("one", Exposure::new().allow(["echo", "count"]))
            .expose("two", Exposure::new().allow(["echo", "sleep"]))
    })
    .await;
    let all = manager.aggregator();
    assert_eq!(names(&all).await, ["count", "sleep"]);
    let error = all
        .call("echo", json!({ "message": "m" }))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("ambiguous"), "{error}");
    assert_eq!(names(&all.with_prefix(Prefix::Always)).await.len(), 4);
    manager.shutdown().await;
}

#[tokio::test]
async fn references_of_agents_name_servers_and_tools() {
    let (_one, two, manager) = two().await;
    let all = manager.aggregator();
    let said = all
        .call("mcp.two.echo", json!({ "message": "by reference" }))
        .await
        .unwrap();
    assert_eq!(
        (text(&said), two.calls_of("echo")),
        ("by reference".to_owned(), 1)
    );
    let some = all
        .select(["mcp.one.echo", "mcp.two.count", "mcp.two.echo"])
        .unwrap();
    assert_eq!(names(&some).await, ["one__echo", "two__echo", "two__count"]);
    let error = some.call("one__count", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    let bare = all.select(["one"]).unwrap().with_prefix(Prefix::Never);
    assert!(names(&bare).await.contains(&"echo".to_owned()));
    let error = all.select(["mcp.three"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("mcp.three"), "{error}");
    manager.shutdown().await;
}

#[tokio::test]
async fn pain_37_changes_of_many_lists_are_one_change() {
    let (one, two, manager) = two().await;
    let all = manager.aggregator();
    names(&all).await;
    let mut changes = all.list_changes();
    let of_one = all.select(["one"]).unwrap();
    let mut changes_of_one = of_one.list_changes();
    for (server, name) in [("one", "fresh"), ("two", "new"), ("two", "newer")] {
        let tools = manager.tools(server).unwrap();
        tools
            .call("set_tools", json!({ "names": ["set_tools", name] }))
            .await
            .unwrap();
    }
    let expected = [
        "one__set_tools",
        "one__fresh",
        "two__set_tools",
        "two__newer",
    ];
    timeout(LONG, async {
        loop {
            let change = changes.next().await.unwrap();
            assert!(
                change.tools && !change.prompts && !change.resources,
                "{change:?}"
            );
            if names(&all).await == expected {
                break;
            }
        }
    })
    .await
    .unwrap();
    assert!(
        timeout(LONG, changes_of_one.next())
            .await
            .unwrap()
            .unwrap()
            .tools
    );
    // A client that sees one server alone hears nothing of the other.
    let more = json!({ "names": ["set_tools"] });
    manager
        .tools("two")
        .unwrap()
        .call("set_tools", more)
        .await
        .unwrap();
    timeout(LONG, changes.next()).await.unwrap().unwrap();
    assert!(
        timeout(Duration::from_millis(100), changes_of_one.next())
            .await
            .is_err()
    );
    drop((one, two));
    manager.shutdown().await;
    assert_eq!(changes.next().await, None);
}

#[tokio::test]
async fn a_client_of_rmcp_is_served_in_this_process() {
    let (one, _two, manager) = two().await;
    let all = manager.aggregator();
    names(&all).await;
    let client = all.serve_in_process().await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.iter().any(|tool| tool.name == "two__echo"));
    let arguments = json!({ "message": "hello" }).as_object().cloned().unwrap();
    let echo = CallToolRequestParams::new("one__echo").with_arguments(arguments);
    assert_eq!(text(&client.call_tool(echo).await.unwrap()), "hello");
    assert_eq!(one.calls_of("echo"), 1);
    let info = client.peer_info().unwrap();
    let instructions = info.instructions.clone().unwrap();
    assert!(
        instructions.starts_with("# one\n\nA server for tests"),
        "{instructions}"
    );
    let arguments = json!({ "code": -32042, "message": "no luck", "data": { "why": "because" } });
    let fail = CallToolRequestParams::new("one__fail")
        .with_arguments(arguments.as_object().cloned().unwrap());
    let Err(ServiceError::McpError(error)) = client.call_tool(fail).await else {
        panic!("the server's error is an error of the protocol");
    };
    assert_eq!(
        (
            error.code.0,
            &*error.message,
            error.data.unwrap()["why"].clone()
        ),
        (-32042, "no luck", json!("because"))
    );
    client.cancel().await.unwrap();
    manager.shutdown().await;
}

#[tokio::test]
async fn shutdown_ends_in_process_clients_and_is_not_held_up_by_them() {
    let (_one, _two, manager) = two().await;
    let client = manager.aggregator().serve_in_process().await.unwrap();
    timeout(LONG, manager.shutdown()).await.unwrap();
    assert!(client.list_all_tools().await.is_err());
    let error = manager.aggregator().list_all_tools().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown);
}

#[tokio::test]
async fn the_pipe_carries_lines_of_json_and_ends_with_the_manager() {
    let (_one, _two, manager) = two().await;
    let pipe = manager.aggregator().in_process_pipe().await.unwrap();
    let (reader, mut writer) = tokio::io::split(pipe);
    let mut lines = BufReader::new(reader).lines();
    let initialize = json!({
        "jsonrpc": "2.0", "id": 7, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "hand", "version": "1" },
        },
    });
    let line = format!("{initialize}\n");
    writer.write_all(line.as_bytes()).await.unwrap();
    let reply = lines.next_line().await.unwrap().unwrap();
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(reply["id"], 7);
    assert!(reply["result"]["serverInfo"].is_object(), "{reply}");
    timeout(LONG, manager.shutdown()).await.unwrap();
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn lists_of_an_identity_are_its_own() {
    let (one, _two, manager) = two().await;
    let all = manager.aggregator();
    names(&all).await;
    let lists = one.requests_of("tools/list");
    let ada = all.with_identity(Identity::new("ada"));
    assert_eq!(names(&ada).await, names(&all).await);
    assert_eq!(
        one.requests_of("tools/list"),
        lists + 1,
        "asked on her behalf, and once"
    );
    manager.shutdown().await;
}

#[tokio::test]
async fn a_name_of_another_server_is_an_error_that_names_what_is_missing() {
    let (_one, _two, manager) = two().await;
    let all = manager.aggregator();
    let error = all.call("three__echo", json!({})).await.unwrap_err();
    let data = error.protocol().unwrap();
    assert_eq!(
        (data.code.0, data.data.as_ref().unwrap()["source"].as_str()),
        (-32_602, Some("mcp-pool"))
    );
    manager.shutdown().await;
}

/// What a program does with a client, written once. Only `$client` differs. Returns all results.
macro_rules! program {
    ($client:expr) => {{
        let client = $client;
        let page = client.list_tools(Some(PaginatedRequestParams::default())).await?;
        let tools = client.list_all_tools().await?;
        let arguments = json!({ "message": "hello" }).as_object().cloned().unwrap();
        let echo = CallToolRequestParams::new("echo").with_arguments(arguments);
        let echoed = client.call_tool(echo.clone()).await?;
        let CallToolResponse::Complete(once) = client.call_tool_once(echo.clone()).await? else {
            panic!("echo asks for nothing");
        };
        let limited = client.call_tool_with_mrtr_max_rounds(echo, 1).await?;
        let prompts = client.list_all_prompts().await?;
        let arguments = json!({ "name": "Ada" }).as_object().cloned().unwrap();
        let prompt = GetPromptRequestParams::new(prompts[0].name.clone()).with_arguments(arguments);
        let resources = client.list_all_resources().await?;
        let uri = resources[0].uri.clone();
        client.set_level(SetLevelRequestParams::new(LoggingLevel::Info)).await?;
        client.subscribe(SubscribeRequestParams::new(uri.clone())).await?;
        client.unsubscribe(UnsubscribeRequestParams::new(uri.clone())).await?;
        client.notify_roots_list_changed().await?;
        let ping = ClientRequest::PingRequest(PingRequest::default());
        let pong = client.peer().send_request(ping).await?;
        let unknown = client.call_tool(CallToolRequestParams::new("no such tool")).await;
        let completed = client.complete_prompt_simple("review", "language", "r").await?;
        let templates = client.list_all_resource_templates().await?;
        let reported = [
            json!(page.tools),
            json!(tools),
            json!(text(&echoed)),
            json!(text(&once)),
            json!(text(&limited)),
            json!(prompts),
            json!(client.get_prompt(prompt).await?.messages),
            json!(resources),
            json!(client.read_resource(ReadResourceRequestParams::new(uri)).await?.contents),
            json!(templates),
            json!(completed),
            json!(pong),
            json!(unknown.is_err()),
            json!(client.peer_info().is_some()),
            json!(!client.is_closed() && !client.is_transport_closed()),
        ];
        client.cancel().await.unwrap();
        Ok::<_, ServiceError>(reported)
    }};
}

#[tokio::test]
async fn one_block_of_code_runs_over_the_plain_client_one_server_and_many_as_one() {
    let server = TestServer::new().with_era(Era::Legacy);
    let plain: RunningService<RoleClient, ()> = ().serve(server.connect()).await.unwrap();
    let manager = servers(&[("test", &server)], |builder| {
        builder.aggregator(AggregatorSettings::new().prefix(Prefix::Never))
    })
    .await;
    let over_plain = async { program!(plain) }.await.unwrap();
    let over_pooled = async { program!(manager.tools("test").unwrap()) }
        .await
        .unwrap();
    let over_all = async { program!(manager.aggregator()) }.await.unwrap();
    let peer = manager.aggregator().serve_in_process().await.unwrap();
    let over_peer = async { program!(peer) }.await.unwrap();
    for (at, plain) in over_plain.iter().enumerate() {
        assert_eq!(
            (plain, plain, plain),
            (&over_pooled[at], &over_all[at], &over_peer[at]),
            "{at}"
        );
    }
    assert_eq!(over_all[2], "hello");
    manager.shutdown().await;
}
