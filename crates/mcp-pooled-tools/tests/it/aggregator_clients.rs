//! Clients of an aggregate: a server's question reaches the client, and the call, that caused it.

use std::{sync::Arc, time::Duration};

use mcp_pooled_tools::{
    Aggregator, ConnectionManager, Error, FromServer, PoolSettings, ReplyKind, Request,
    RequestOptions, Sharing, config::Lifecycle, core::connect::in_process::InProcess,
};
use mcp_testkit::{
    HttpOptions, HttpServer,
    process::wait_until,
    scripted_http::{Answer, Asked, ScriptedHttp},
};
use rmcp::{
    ClientHandler, ErrorData, RoleClient, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientConfig, ContentBlock,
        ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationCapability,
        ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde_json::{Value, json, value::to_raw_value};
use tokio::task::JoinSet;

use crate::common::{
    LONG,
    caller::{Caller, asking},
    process, text,
};

/// Answers with its name and that of the server that asks, after a while.
#[derive(Clone)]
struct Names(String);

impl ClientHandler for Names {
    fn get_info(&self) -> ClientConfig {
        let caller = Caller {
            name: "aggregate",
            thinks: Duration::ZERO,
        };
        caller.get_info()
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let from = context.extensions.get::<FromServer>().unwrap();
        let name = format!("{} for {}", self.0, from.0);
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": name })))
    }
}

fn with_client(all: &Aggregator, name: &str) -> Aggregator {
    let names = Names(name.to_owned());
    all.scoped(name).with_client(names.get_info(), names)
}

async fn ask(all: &Aggregator, server: &str, options: RequestOptions) -> Result<Value, Error> {
    let mut params = asking(&["elicitation"]);
    params.name = format!("{server}__ask").into();
    let result = all.call_tool_with(params, options).await?;
    let answers: Value = serde_json::from_str(&text(&result)).unwrap();
    Ok(answers["elicitation"].clone())
}

/// Two servers, over stdio and HTTP.
async fn manager(http: &HttpServer, settings: PoolSettings) -> ConnectionManager {
    let builder = ConnectionManager::builder()
        .server("lines", process(&[]))
        .server("http", mcp_pooled_tools::ServerConfig::http(http.url()))
        .defaults(settings);
    builder.build().await.unwrap()
}

const ERAS: [Lifecycle; 2] = [Lifecycle::Initialize, Lifecycle::Discover];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_of_any_server_reaches_the_client_whose_call_caused_it() {
    let http = HttpServer::start(HttpOptions::default()).await;
    for era in ERAS {
        let manager = manager(&http, PoolSettings::new().lifecycle(era)).await;
        let all = manager.aggregator();
        let clients = ["alice", "bob"].map(|name| (name, with_client(&all, name)));
        let mut asking = JoinSet::new();
        for number in 0..40 {
            let (name, client) = clients[number % 2].clone();
            let server = ["lines", "http"][number / 2 % 2];
            asking.spawn(async move {
                let answer = ask(&client, server, RequestOptions::new()).await;
                assert_eq!(
                    answer.unwrap(),
                    format!("{name} for {server}"),
                    "{era} {number}"
                );
            });
        }
        asking.join_all().await;
        let unanswered = ask(&all, "lines", RequestOptions::new()).await;
        assert_eq!(unanswered.unwrap(), "declined", "{era}");
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_one_client_side_by_side_are_each_answered_by_their_own_handler() {
    let http = HttpServer::start(HttpOptions::default()).await;
    for era in ERAS {
        let manager = manager(&http, PoolSettings::new().lifecycle(era)).await;
        let client = with_client(&manager.aggregator(), "alice");
        // A legacy server over lines does not say for which call it asks: there they run one by one.
        for server in ["lines", "http"] {
            let mut calls = JoinSet::new();
            for number in 0..20 {
                let client = client.clone();
                calls.spawn(async move {
                    let own = format!("call {number}");
                    let options = RequestOptions::new().handler(Names(own.clone()));
                    let answer = ask(&client, server, options).await.unwrap();
                    assert_eq!(answer, format!("{own} for {server}"), "{era}");
                });
                if server == "lines" && era == Lifecycle::Initialize {
                    calls.join_next().await.unwrap().unwrap();
                }
            }
            while let Some(call) = calls.join_next().await {
                call.unwrap();
            }
            let answer = ask(&client, server, RequestOptions::new()).await;
            assert_eq!(answer.unwrap(), format!("alice for {server}"), "{era}");
        }
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_modern_server_s_questions_are_the_reply_once_and_the_caller_gives_the_answers() {
    let http = HttpServer::start(HttpOptions::default()).await;
    let manager = manager(&http, PoolSettings::new().lifecycle(Lifecycle::Discover)).await;
    let client = with_client(&manager.aggregator(), "alice");
    for server in ["lines", "http"] {
        let name = format!("{server}__ask");
        let mut params =
            json!({ "name": name, "arguments": { "what": ["elicitation", "sampling"] } });
        let send = async |params: &Value| {
            let params = to_raw_value(params).unwrap();
            let request = Request::from_raw("tools/call", Some(&params)).unwrap();
            let handler = Names("never asked".to_owned());
            let options = RequestOptions::new().once().handler(handler);
            client.send(request, options).await.unwrap()
        };
        let mut reply = send(&params).await;
        let mut rounds = 0;
        while reply.kind() == ReplyKind::InputRequired {
            rounds += 1;
            let asked: Value = serde_json::from_str(reply.raw().get()).unwrap();
            let mut answers = json!({});
            for (key, question) in asked["inputRequests"].as_object().unwrap() {
                answers[key] = match question["method"].as_str() {
                    Some("elicitation/create") => {
                        json!({ "action": "accept", "content": { "name": "mine" } })
                    }
                    _ => json!({
                        "role": "assistant", "model": "mine",
                        "content": { "type": "text", "text": "hello" },
                    }),
                };
            }
            params["inputResponses"] = answers;
            params["requestState"] = asked["requestState"].clone();
            reply = send(&params).await;
        }
        assert!(rounds > 0);
        let answered = reply.parse_tool_result().await.unwrap();
        assert!(text(&answered).contains("mine"), "{}", text(&answered));
    }
    manager.shutdown().await;
}

/// Answers a call with what the client of the request declares.
struct Mirror;

impl ServerHandler for Mirror {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = Tool::new("declared", "", serde_json::Map::new());
        Ok(ListToolsResult::with_all_items(vec![tool]))
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = context.client_info().map(|client| client.name);
        let capabilities = context.client_capabilities().unwrap_or_default();
        let declared = format!("{} {}", name.unwrap_or_default(), json!(capabilities));
        Ok(CallToolResult::success(vec![ContentBlock::text(declared)]).into())
    }
}

#[tokio::test]
async fn clients_that_declare_different_things_share_the_session_of_a_modern_server_and_its_listing()
 {
    for sharing in [None, Some(Sharing::Multiplexed)] {
        let mut settings = PoolSettings::new().lifecycle(Lifecycle::Discover);
        if let Some(sharing) = sharing {
            settings = settings.min_connections(0).sharing(sharing);
        }
        let manager = ConnectionManager::builder()
            .connector("mirror", InProcess::new(|| Mirror), settings)
            .build()
            .await
            .unwrap();
        let all = manager.aggregator();
        all.list_all_tools().await.unwrap();
        let (mut able, unable) = (ClientConfig::default(), ClientConfig::default());
        able.client_info.name = "able".to_owned();
        able.capabilities.elicitation = Some(ElicitationCapability::default());
        for info in [&able, &unable, &able] {
            let client = all.scoped(info.client_info.name.clone());
            let client = client.with_client(info.clone(), Names(String::new()));
            let called = client.call("mirror__declared", ()).await.unwrap();
            let expected = format!("{} {}", info.client_info.name, json!(info.capabilities));
            assert_eq!(text(&called), expected, "{sharing:?}");
        }
        let status = manager.status();
        let pools = status.servers[0].pools.iter();
        let opened: Vec<_> = pools.map(|pool| pool.opened).collect();
        assert_eq!(opened, [1], "{sharing:?}");
        manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_legacy_server_that_is_set_to_be_shared_stays_shared_and_asks_no_client() {
    let http = HttpServer::start(HttpOptions::default()).await;
    let settings = PoolSettings::new()
        .sharing(Sharing::Multiplexed)
        .min_connections(0)
        .lifecycle(Lifecycle::Initialize);
    let manager = manager(&http, settings).await;
    let all = manager.aggregator();
    let clients = Arc::new(["alice", "bob", "carol"].map(|name| with_client(&all, name)));
    for client in clients.iter() {
        let handler = Names("call".to_owned());
        let answer = ask(client, "lines", RequestOptions::new().handler(handler)).await;
        assert_eq!(answer.unwrap(), "declined");
    }
    let status = manager.status();
    let lines = status.servers.iter().find(|server| server.name == "lines");
    let pools = &lines.unwrap().pools;
    assert_eq!((pools.len(), pools[0].total_connections), (1, 1));
    manager.shutdown().await;
}

#[tokio::test]
async fn a_legacy_server_hears_of_a_task_and_of_the_client_s_roots_on_the_session_of_the_call() {
    const CHANGED: &str = "notifications/roots/list_changed";
    let server = ScriptedHttp::start(|asked| {
        let now = "2026-11-28T00:00:00Z";
        let task = json!({
            "taskId": "7", "status": "working", "ttl": 60_000, "createdAt": now, "lastUpdatedAt": now,
        });
        let result = match asked.method() {
            "tools/call" => json!({ "task": task }),
            "tasks/get" => task,
            _ => return None,
        };
        Some(Answer::json(200, &asked.reply(result)))
    })
    .await;
    let manager = ConnectionManager::builder()
        .server("http", mcp_pooled_tools::ServerConfig::http(server.url()))
        .defaults(PoolSettings::new().lifecycle(Lifecycle::Initialize))
        .build()
        .await
        .unwrap();
    let client = with_client(&manager.aggregator(), "alice");
    let send = async |method: &str, params: Value| -> Value {
        let params = to_raw_value(&params).unwrap();
        let request = Request::from_raw(method.to_owned(), Some(&params)).unwrap();
        let options = RequestOptions::new().once();
        let reply = client.send(request, options).await.unwrap();
        serde_json::from_str(reply.raw().get()).unwrap()
    };
    let arguments = json!({ "message": "a" });
    let params = json!({ "name": "http__echo", "arguments": arguments, "task": {} });
    let began = send("tools/call", params).await;
    let task = json!({ "taskId": began["task"]["taskId"] });
    assert_eq!(send("tasks/get", task).await["status"], "working");
    client.notify_roots_list_changed().await.unwrap();
    assert!(wait_until(LONG, || server.count(CHANGED) > 0).await);
    let session = |method: &str| {
        let asked = server.asked().into_iter();
        let mut asked = asked.filter(|asked: &Asked| asked.method() == method);
        let session = asked.next().unwrap();
        assert!(asked.next().is_none(), "{method}");
        session.header("mcp-session-id").unwrap().to_owned()
    };
    assert_eq!(session("tasks/get"), session("tools/call"));
    assert_eq!(session(CHANGED), session("tools/call"));
    manager.shutdown().await;
}
