//! A caller answers the server that it called, and nobody else does.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    deprecated,
    reason = "tests: tasks are joined here, and a panic is a verdict; servers still ask for sampling and roots"
)]

mod common;
#[path = "common/wired.rs"]
mod wired;

use std::time::Duration;

use common::text;
use mcp_pooled_tools::{CallOptions, Error, PoolSettings, PooledTools, config::Lifecycle};
use rmcp::{
    ClientHandler, ErrorData, RoleClient, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientConfig, ClientResult,
        ContentBlock, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams,
        ElicitResult, ElicitationAction, Implementation, InputRequests, InputRequiredResult,
        ListRootsResult, Root, SamplingMessage, ServerCapabilities, ServerConfig, ServerRequest,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};
use wired::Wired;

const ERAS: [Lifecycle; 2] = [Lifecycle::Initialize, Lifecycle::Discover];
const EVERYTHING: [&str; 3] = ["elicitation", "roots", "sampling"];

async fn ask(tools: &PooledTools, what: &[&str], options: CallOptions) -> Result<Value, Error> {
    let arguments = json!({ "what": what });
    let params = CallToolRequestParams::new("ask")
        .with_arguments(arguments.as_object().cloned().expect("an object"));
    let answers = tools.call_tool_with(params, options).await?;
    Ok(serde_json::from_str(&text(&answers)).expect("the answers are JSON"))
}

#[tokio::test]
async fn each_of_many_callers_answers_its_own_call() {
    for era in ERAS {
        let manager = Wired::over(|| Asking)
            .manager(PoolSettings::new().lifecycle(era).max_connections(4))
            .await;
        let tools = manager.tools("test").unwrap();
        let mut callers = JoinSet::new();
        for caller in ["alice", "bob", "carol"] {
            for round in 0..10u64 {
                let tools = tools.clone();
                callers.spawn(async move {
                    let options = CallOptions::new().handler(Caller {
                        name: caller,
                        thinks: Duration::from_millis(round * 7 % 20),
                    });
                    let answers = ask(&tools, &EVERYTHING, options).await.unwrap();
                    assert_eq!(
                        answers,
                        json!({ "elicitation": caller, "roots": caller, "sampling": caller }),
                        "{era}"
                    );
                });
            }
        }
        while let Some(outcome) = callers.join_next().await {
            outcome.unwrap();
        }
        assert_eq!(manager.pool_status("test").unwrap().in_flight, 0);
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_call_without_a_handler_declines_also_beside_one_that_has() {
    for era in ERAS {
        let manager = Wired::over(|| Asking)
            .manager(PoolSettings::new().lifecycle(era))
            .await;
        let tools = manager.tools("test").unwrap();
        let options = || {
            CallOptions::new().handler(Caller {
                name: "alice",
                thinks: Duration::from_millis(20),
            })
        };
        let with = ask(&tools, &EVERYTHING, options());
        let without = async {
            sleep(Duration::from_millis(5)).await;
            ask(&tools, &["elicitation", "roots"], CallOptions::new()).await
        };
        let (with, without) = tokio::join!(with, without);
        assert_eq!(with.unwrap()["elicitation"], "alice");
        let declined = json!({ "elicitation": "declined", "roots": "none" });
        assert_eq!(without.unwrap(), declined, "{era}");
        // Nor does a handler stay behind when its call is over.
        let after = ask(&tools, &["elicitation", "roots"], CallOptions::new()).await;
        assert_eq!(after.unwrap(), declined, "{era}");
        ask(&tools, &["elicitation"], options()).await.unwrap();
        let after = ask(&tools, &["elicitation", "roots"], CallOptions::new()).await;
        assert_eq!(after.unwrap(), declined, "{era}");
        manager.shutdown().await;
    }
}

#[tokio::test]
async fn a_session_of_ones_own_is_answered_by_the_handler_of_the_call() {
    for era in ERAS {
        let manager = Wired::over(|| Asking)
            .manager(PoolSettings::new().lifecycle(era))
            .await;
        let session = manager.tools("test").unwrap().session().await.unwrap();
        for name in ["alice", "bob"] {
            let params = CallToolRequestParams::new("ask").with_arguments(
                json!({ "what": ["elicitation"] })
                    .as_object()
                    .cloned()
                    .unwrap(),
            );
            let options = CallOptions::new().handler(Caller {
                name,
                thinks: Duration::ZERO,
            });
            let answers = session.call_tool_with(params, options).await.unwrap();
            assert!(text(&answers).contains(name), "{era}: {}", text(&answers));
        }
        drop(session);
        manager.shutdown().await;
    }
}

/// Answers everything with its name.
struct Caller {
    name: &'static str,
    thinks: Duration,
}

impl ClientHandler for Caller {
    fn get_info(&self) -> ClientConfig {
        let everything = json!({ "elicitation": {}, "sampling": {}, "roots": {} });
        ClientConfig::new(
            serde_json::from_value(everything).unwrap(),
            Implementation::new("caller", "1"),
        )
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        sleep(self.thinks).await;
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({ "name": self.name })))
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        sleep(self.thinks).await;
        Ok(ListRootsResult::new(vec![Root::new(self.name)]))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        sleep(self.thinks).await;
        Ok(CreateMessageResult::new(
            SamplingMessage::assistant_text("hello"),
            self.name.into(),
        ))
    }
}

/// Asks its caller, in the way of the era, and answers with what it was told.
#[derive(Clone)]
struct Asking;

impl ServerHandler for Asking {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let what = request.arguments.unwrap_or_default()["what"].clone();
        let what: Vec<String> = serde_json::from_value(what).expect("a list");
        let legacy = context
            .protocol_version()
            .is_none_or(|version| version.has_initialize());
        let mut answers = serde_json::Map::new();
        if legacy {
            for asked in what {
                let request = serde_json::from_value::<ServerRequest>(request_for(&asked));
                let answer = context.peer.send_request(request.unwrap()).await;
                let answer = match answer.map_err(|error| error.to_string()) {
                    Ok(ClientResult::ElicitResult(result)) => serde_json::to_value(result),
                    Ok(ClientResult::ListRootsResult(result)) => serde_json::to_value(result),
                    Ok(ClientResult::CreateMessageResult(result)) => serde_json::to_value(result),
                    other => panic!("{asked}: {other:?}"),
                };
                answers.insert(asked, said(&answer.unwrap()));
            }
        } else {
            let Some(responses) = request.input_responses else {
                let requests: InputRequests = what
                    .into_iter()
                    .map(|asked| (asked.clone(), request_for(&asked)))
                    .map(|(key, request)| (key, serde_json::from_value(request).unwrap()))
                    .collect();
                let state = Some("what was asked".to_owned());
                return Ok(InputRequiredResult::new(Some(requests), state).into());
            };
            assert_eq!(request.request_state.as_deref(), Some("what was asked"));
            for (asked, answer) in responses {
                answers.insert(asked, said(&answer));
            }
        }
        let answers = Value::Object(answers).to_string();
        Ok(CallToolResult::success(vec![ContentBlock::text(answers)]).into())
    }
}

fn request_for(what: &str) -> Value {
    match what {
        "elicitation" => json!({ "method": "elicitation/create", "params": {
            "mode": "form",
            "message": "who are you?",
            "requestedSchema": { "type": "object", "properties": { "name": { "type": "string" } } },
        }}),
        "roots" => json!({ "method": "roots/list" }),
        _ => json!({ "method": "sampling/createMessage", "params": {
            "messages": [{ "role": "user", "content": { "type": "text", "text": "hello" } }],
            "maxTokens": 10,
        }}),
    }
}

/// Who answered, if anybody did.
fn said(answer: &Value) -> Value {
    match answer {
        Value::Object(it) if it.get("action") == Some(&json!("decline")) => json!("declined"),
        Value::Object(it) if it.contains_key("action") => it["content"]["name"].clone(),
        Value::Object(it) if it.contains_key("model") => it["model"].clone(),
        it => it["roots"]
            .get(0)
            .map_or_else(|| json!("none"), |root| root["uri"].clone()),
    }
}
