//! Arguments and results held against their schemas, where that is wanted.

use crate::common;
use crate::common::log;
use crate::common::wired;
use std::time::Duration;

use common::LONG;
use log::Log;
use mcp_pooled_tools::{
    ConnectionManager, ErrorKind, Identity, PoolSettings, PooledTools,
    config::{Lifecycle, Validate},
};
use mcp_testkit::{Options, TestServer, process::wait_until};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, JsonObject,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};
use wired::{Wired, status};

fn validating(what: Validate) -> PoolSettings {
    PoolSettings::new().validate(what)
}

/// A server whose lists are good until it says otherwise: in the modern era, rmcp's say 0 if they say nothing.
fn lasting() -> TestServer {
    TestServer::with_options(Options {
        list_ttl: Some(Duration::from_secs(3600)),
        ..Options::default()
    })
}

fn object(value: Value) -> JsonObject {
    value.as_object().cloned().expect("an object")
}

/// A server that takes orders, whose tools have been listed.
async fn listed(what: Validate) -> (Orders, ConnectionManager, PooledTools) {
    let orders = Orders::default();
    let wired = Wired::over({
        let orders = orders.clone();
        move || orders.clone()
    });
    let manager = wired.manager(validating(what)).await;
    let tools = manager.tools("test").unwrap();
    tools.list_all_tools().await.unwrap();
    (orders, manager, tools)
}

#[tokio::test]
async fn wrong_arguments_are_named_by_path_and_nothing_is_sent_or_counted() {
    let (orders, manager, tools) = listed(Validate::Arguments).await;
    let before = status(&manager);

    let error = tools
        .call(
            "order",
            json!({ "items": [{ "price": "secret" }, { "price": 1 }, { "price": null }], "to": 7 }),
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    let message = error.to_string();
    for part in [
        "server `test`",
        "`order`",
        "items.0.price: expected number, got string",
        "items.2.price: expected number, got null",
        "to: expected string, got number",
        "currency: is required",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!message.contains("items.1") && !message.contains("secret"));
    assert!(!message.contains('\n') && !error.is_retryable());
    assert_eq!(error.violations().len(), 4, "{error}");

    assert_eq!(*orders.taken.lock(), 0, "nothing was sent");
    let after = status(&manager);
    assert_eq!(after["circuit_breaker"], before["circuit_breaker"]);
    assert_eq!(
        after["sessions"][0]["calls"],
        before["sessions"][0]["calls"]
    );

    let right = json!({ "items": [{ "price": 1.5 }], "to": "me", "currency": "EUR" });
    for _ in 0..1_000 {
        tools.call("order", right.clone()).await.unwrap();
    }
    assert_eq!(*orders.taken.lock(), 1_000);
    manager.shutdown().await;
}

#[tokio::test]
async fn however_much_is_wrong_the_first_hundred_are_told() {
    let (_, manager, tools) = listed(Validate::Both).await;
    for (count, unnamed) in [
        (20, None),
        (21, Some("; and 1 more")),
        (500, Some("; and 480 more")),
    ] {
        let items = vec![json!({ "price": "none" }); count];
        let arguments = json!({ "items": items, "currency": "EUR" });
        let error = tools.call("order", arguments).await.unwrap_err();
        let all: Vec<_> = (0..count.min(100))
            .map(|at| format!("items.{at}.price: expected number, got string"))
            .collect();
        assert_eq!(error.violations(), all);
        let named = all[..20].join("; ") + unnamed.unwrap_or_default();
        let message = format!("server `test`: arguments of tool `order`: {named}");
        assert_eq!(error.to_string(), message);
    }
    manager.shutdown().await;
}

/// How often a schema of the tool `order` has been compiled.
fn compiled(log: &Log) -> usize {
    log.with("schema compiled tool=order which=inputSchema")
        .len()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_checked_calls_compile_the_schema_once() {
    let log = Log::begin();
    let (_, manager, tools) = listed(Validate::Both).await;
    assert_eq!(compiled(&log), 0, "a tool without calls costs nothing");
    let right = || json!({ "items": [{ "price": 1.5 }], "to": "me", "currency": "EUR" });
    for _ in 0..100 {
        let calls = (0..10).map(|_| {
            let tools = tools.clone();
            async move { tools.call("order", right()).await }
        });
        for outcome in JoinSet::from_iter(calls).join_all().await {
            outcome.unwrap();
        }
    }
    assert_eq!(compiled(&log), 1);

    // Nor does a list that says the same again, when the time of the last one is over.
    sleep(Duration::from_secs(2 * 3_600)).await;
    tools
        .call("order", json!({ "items": 1 }))
        .await
        .unwrap_err();
    let before = log.with("schema compiled").len();
    tools.list_all_tools().await.unwrap();
    let wrong = tools
        .call("order", json!({ "items": 1 }))
        .await
        .unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Validation, "{wrong}");
    assert_eq!(
        (compiled(&log), log.with("schema compiled").len()),
        (1, before)
    );
    manager.shutdown().await;
}

#[tokio::test]
async fn a_first_call_is_not_held_up_and_the_list_is_fetched_beside_it() {
    let wired = Wired::new(lasting());
    let settings = validating(Validate::Arguments).lifecycle(Lifecycle::Initialize);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    let wrong = || tools.call("add", json!({ "a": "x" }));
    let first = wrong().await.unwrap_err();
    assert_eq!(
        first.kind(),
        ErrorKind::Protocol,
        "the server judged: {first}"
    );
    assert_eq!(wired.server.calls_of("add"), 1);
    assert!(wait_until(LONG, || wired.server.requests_of("tools/list") == 1).await);
    sleep(Duration::from_millis(50)).await;
    let second = wrong().await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Validation, "{second}");
    assert!(second.to_string().contains("b: is required"), "{second}");
    assert_eq!(wired.server.calls_of("add"), 1);
    assert_eq!(wired.server.requests_of("tools/list"), 1);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_list_without_a_time_is_good_enough_to_check_against() {
    let wired = Wired::new(TestServer::new());
    let settings = validating(Validate::Arguments).lifecycle(Lifecycle::Discover);
    let manager = wired.manager(settings).await;
    let tools = manager.tools("test").unwrap();
    tools.list_all_tools().await.unwrap();
    for _ in 0..20 {
        let error = tools.call("add", json!({ "a": "x" })).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    }
    assert_eq!(wired.server.calls_of("add"), 0);
    assert!(
        wired.server.requests_of("tools/list") <= 2,
        "not one per call"
    );
    manager.shutdown().await;
}

#[tokio::test]
async fn every_way_to_call_is_checked() {
    let (orders, manager, tools) = listed(Validate::Both).await;
    let wrong =
        || CallToolRequestParams::new("order").with_arguments(object(json!({ "items": "none" })));
    let session = tools.session().await.unwrap();
    let mut refusals = vec![
        tools.call_tool(wrong()).await.unwrap_err(),
        tools.call_tool_once(wrong()).await.unwrap_err(),
        session.call_tool(wrong()).await.unwrap_err(),
        session.call_tool_once(wrong()).await.unwrap_err(),
        session.call("order", json!({})).await.unwrap_err(),
    ];
    assert_eq!(*orders.taken.lock(), 0, "nothing was sent");
    let total = json!({ "answer": "wrong" });
    refusals.push(session.call("total", total).await.unwrap_err());
    drop(session);
    let batch = tools.batch([wrong(), wrong()]).await.unwrap();
    refusals.extend(batch.into_iter().map(Result::unwrap_err));
    assert_eq!(refusals.len(), 8);
    for error in refusals {
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
        assert_eq!(error.server(), Some("test"));
    }
    assert_eq!(*orders.taken.lock(), 1, "whose result was wrong");
    manager.shutdown().await;
}

#[tokio::test]
async fn direct_calls_are_held_against_the_list_of_the_pool_if_it_has_one() {
    let orders = Orders::default();
    let wired = Wired::over({
        let orders = orders.clone();
        move || orders.clone()
    });
    let manager = wired.manager(validating(Validate::Both)).await;
    let direct = manager.direct_tools("test").unwrap();
    direct.call("order", json!({ "items": 1 })).await.unwrap();
    assert_eq!(*orders.taken.lock(), 1, "no list is known");

    let tools = manager.tools("test").unwrap();
    tools.list_all_tools().await.unwrap();
    let opens = wired.opens();
    let wrong =
        || CallToolRequestParams::new("order").with_arguments(object(json!({ "items": 1 })));
    for error in [
        direct.call_tool(wrong()).await.unwrap_err(),
        direct.call_tool_once(wrong()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    }
    assert_eq!((wired.opens(), *orders.taken.lock()), (opens, 1));
    let wrong = direct.call("total", json!({ "answer": "wrong" })).await;
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Validation);
    assert_eq!(*orders.taken.lock(), 2, "whose result was wrong");

    // A list without an identity says nothing of the tools of an identity.
    let somebody = direct.with_identity(Identity::new("somebody"));
    somebody.call("order", json!({ "items": 1 })).await.unwrap();
    manager.shutdown().await;
}

#[tokio::test]
async fn a_tool_that_is_not_listed_is_left_to_the_server() {
    let manager = Wired::new(lasting())
        .manager(validating(Validate::Both))
        .await;
    let tools = manager.tools("test").unwrap();
    tools.list_all_tools().await.unwrap();
    let error = tools.call("no_such_tool", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    manager.shutdown().await;
}

#[tokio::test]
async fn by_default_the_server_judges() {
    let wired = Wired::new(lasting());
    let manager = wired.manager(PoolSettings::new()).await;
    let tools = manager.tools("test").unwrap();
    tools.list_all_tools().await.unwrap();
    let error = tools.call("add", json!({ "a": "x" })).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert_eq!(wired.server.calls_of("add"), 1);
    manager.shutdown().await;
}

#[tokio::test]
async fn results_are_held_against_the_output_schema_where_that_is_wanted() {
    let check = |tools: PooledTools, answer: &'static str| async move {
        tools.list_all_tools().await.unwrap();
        tools.call("total", json!({ "answer": answer })).await
    };
    for (what, refused) in [
        (Validate::Both, true),
        (Validate::Arguments, false),
        (Validate::Off, false),
    ] {
        let manager = Wired::over(Orders::default).manager(validating(what)).await;
        for (answer, wrong) in [
            ("right", None),
            ("error", None),
            ("wrong", Some("sum: expected number, got string")),
            ("none", Some("structuredContent")),
        ] {
            let outcome = check(manager.tools("test").unwrap(), answer).await;
            match wrong.filter(|_| refused) {
                None => drop(outcome.unwrap()),
                Some(wrong) => {
                    let error = outcome.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
                    assert!(error.to_string().contains(wrong), "{error}");
                }
            }
        }
        assert_eq!(status(&manager)["circuit_breaker"]["faults"], json!(0));
        manager.shutdown().await;
    }

    let manager = Wired::new(lasting())
        .manager(validating(Validate::Both))
        .await;
    let tools = manager.tools("test").unwrap();
    tools.list_all_tools().await.unwrap();
    let sum = tools.call("add", json!({ "a": 1, "b": 2 })).await.unwrap();
    assert_eq!(sum.structured_content.unwrap()["sum"], json!(3.0));
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_does_not_compile_switches_it_off_for_its_tool_with_one_warning() {
    let log = Log::begin();
    let (_, manager, tools) = listed(Validate::Both).await;
    assert_eq!(log.with("is not valid").len(), 0, "it is not called");
    for _ in 0..3 {
        tools
            .call("careless", json!({ "anything": [1] }))
            .await
            .unwrap();
        // The same list again is no reason for the same warning.
        sleep(Duration::from_secs(2 * 3_600)).await;
        tools.list_all_tools().await.unwrap();
    }
    let warnings = log.with("is not valid");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].level, tracing::Level::WARN);
    for part in [
        "server=test",
        "inputSchema",
        "`careless`",
        "validation is off",
    ] {
        assert!(warnings[0].text.contains(part), "{}", warnings[0].text);
    }
    manager.shutdown().await;
}

#[tokio::test]
async fn a_schema_that_doubles_for_thirty_levels_holds_nobody_up() {
    let log = Log::begin();
    let (_, manager, tools) = listed(Validate::Both).await;
    for _ in 0..2 {
        let call = tools.call("doubling", json!({ "a": 1 }));
        tokio::time::timeout(LONG, call).await.unwrap().unwrap();
    }
    assert_eq!(log.with("validation is off").len(), 1);
    manager.shutdown().await;
}

/// A small schema that stands for a billion of them.
fn doubling() -> Value {
    let mut defs = JsonObject::new();
    for level in 0..30 {
        let next = json!({ "$ref": format!("#/$defs/l{}", level + 1) });
        defs.insert(format!("l{level}"), json!({ "anyOf": [next, next] }));
    }
    defs.insert("l30".into(), json!({ "required": ["x"] }));
    json!({ "type": "object", "$ref": "#/$defs/l0", "$defs": defs })
}

/// Takes orders, and gives totals of any kind.
#[derive(Clone, Default)]
struct Orders {
    taken: std::sync::Arc<parking_lot::Mutex<u64>>,
}

impl ServerHandler for Orders {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let order = json!({
            "type": "object",
            "properties": {
                "items": { "type": "array", "items": {
                    "type": "object", "properties": { "price": { "type": "number" } },
                }},
                "to": { "type": "string" },
                "currency": { "type": "string" },
            },
            "required": ["items", "currency"],
        });
        let sum = json!({
            "type": "object", "properties": { "sum": { "type": "number" } }, "required": ["sum"],
        });
        Ok(ListToolsResult::with_all_items(vec![
            Tool::new("order", "", object(order)),
            Tool::new("total", "", object(json!({ "type": "object" })))
                .with_raw_output_schema(object(sum).into()),
            Tool::new("careless", "", object(json!({ "type": 12 }))),
            Tool::new("doubling", "", object(doubling())),
        ])
        .with_ttl_ms(3_600_000))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        *self.taken.lock() += 1;
        let arguments = request.arguments.unwrap_or_default();
        let said = || vec![ContentBlock::text("done")];
        let result = match arguments.get("answer").and_then(Value::as_str) {
            Some("right") => CallToolResult::structured(json!({ "sum": 1 })),
            Some("wrong") => CallToolResult::structured(json!({ "sum": "1" })),
            Some("error") => CallToolResult::error(said()),
            _ => CallToolResult::success(said()),
        };
        Ok(result.into())
    }
}
