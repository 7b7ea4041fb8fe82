//! Tasks that tools start, and rounds of input in prompts and resources.

use std::time::Duration;

use mcp_pooled_tools::{
    CallOptions, ConnectionManager, Error, ErrorKind, PoolSettings, PooledTools, config::Lifecycle,
    core::connect::in_process::InProcess,
};
use rmcp::{
    ClientHandler, ErrorData, RoleClient, RoleServer, ServerHandler,
    model::*,
    service::{RequestContext, ServiceError},
};
use serde_json::json;

/// Asks for input before it answers, as often as its state says. Its tool starts a task.
#[derive(Clone, Copy)]
struct Curious;

type Context = RequestContext<RoleServer>;

/// What the server asks for next; `None` once it has been answered.
fn asks(responses: Option<&InputResponses>, endless: bool) -> Option<InputRequiredResult> {
    let answered = responses.is_some_and(|responses| !responses.is_empty());
    (!answered || endless).then(|| questions(1))
}

/// So many questions in one round.
fn questions(count: usize) -> InputRequiredResult {
    let question = json!({ "method": "elicitation/create", "params": {
        "mode": "form", "message": "who?",
        "requestedSchema": { "type": "object", "properties": { "name": { "type": "string" } } },
    } });
    let name = |number: usize| match number {
        0 => "name".to_owned(),
        number => format!("name{number}"),
    };
    let questions: serde_json::Map<_, _> = (0..count)
        .map(|number| (name(number), question.clone()))
        .collect();
    let asked = json!({ "resultType": "input_required", "inputRequests": questions });
    serde_json::from_value(asked).unwrap()
}

fn name(responses: Option<InputResponses>) -> String {
    let responses = responses.unwrap();
    responses["name"]["content"]["name"]
        .as_str()
        .unwrap()
        .to_owned()
}

impl ServerHandler for Curious {
    fn get_info(&self) -> ServerConfig {
        let capabilities = serde_json::from_value(json!({
            "tools": {}, "prompts": {}, "resources": {}, "extensions": { TASKS_EXTENSION_ID: {} },
        }));
        ServerConfig::new(capabilities.unwrap())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        if let Ok(count) = request.name.parse() {
            return Ok(GetPromptResponse::InputRequired(questions(count)));
        }
        let endless = request.name == "endless";
        if let Some(asked) = asks(request.input_responses.as_ref(), endless) {
            return Ok(GetPromptResponse::InputRequired(asked));
        }
        let message = PromptMessage::new_text(Role::User, name(request.input_responses));
        Ok(GetPromptResult::new(vec![message]).into())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if let Some(asked) = asks(request.input_responses.as_ref(), false) {
            return Ok(ReadResourceResponse::InputRequired(asked));
        }
        let text = ResourceContents::text(name(request.input_responses), request.uri);
        Ok(ReadResourceResult::new(vec![text]).into())
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        _: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let task = json!({
            "resultType": "task", "taskId": "task-7", "status": "working",
            "createdAt": "2026-07-28T00:00:00Z", "lastUpdatedAt": "2026-07-28T00:00:00Z", "ttlMs": 60_000,
        });
        Ok(CallToolResponse::Task(
            serde_json::from_value(task).unwrap(),
        ))
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let completed = json!({ "completion": { "values": ["rust"] } });
        Ok(serde_json::from_value(completed).unwrap())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: Context,
    ) -> Result<GetTaskResult, ErrorData> {
        let task = json!({
            "resultType": "complete", "taskId": request.task_id, "status": "working",
            "createdAt": "2026-07-28T00:00:00Z", "lastUpdatedAt": "2026-07-28T00:00:00Z", "ttlMs": 60_000,
        });
        Ok(serde_json::from_value(task).unwrap())
    }

    async fn update_task(&self, request: UpdateTaskParams, _: Context) -> Result<(), ErrorData> {
        match request.task_id.as_str() {
            "task-7" => Ok(()),
            other => Err(ErrorData::invalid_params(other.to_owned(), None)),
        }
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: Context) -> Result<(), ErrorData> {
        match request.task_id.as_str() {
            "task-7" => Ok(()),
            other => Err(ErrorData::invalid_params(other.to_owned(), None)),
        }
    }
}

/// A client that has a name.
struct Named;

impl ClientHandler for Named {
    fn get_info(&self) -> ClientConfig {
        let capabilities = serde_json::from_value(json!({
            "elicitation": {}, "extensions": { TASKS_EXTENSION_ID: {} },
        }));
        ClientConfig::new(capabilities.unwrap(), Implementation::new("named", "1"))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let answer = json!({ "action": "accept", "content": { "name": "Ada" } });
        Ok(serde_json::from_value(answer).unwrap())
    }
}

async fn tools() -> (ConnectionManager, PooledTools) {
    let settings = PoolSettings::new()
        .lifecycle(Lifecycle::Discover)
        .call_timeout(Duration::from_secs(20));
    let manager = ConnectionManager::builder()
        .connector("test", InProcess::new(|| Curious), settings)
        .client_info(Named.get_info())
        .build()
        .await
        .unwrap();
    let tools = manager.tools("test").unwrap();
    (manager, tools)
}

fn answering() -> CallOptions {
    CallOptions::new().handler(Named)
}

#[tokio::test]
async fn a_handler_answers_what_prompts_and_resources_ask_for() {
    let (manager, tools) = tools().await;
    let prompt = tools.get_prompt_with(GetPromptRequestParams::new("p"), answering());
    let prompt = json!(prompt.await.unwrap().messages);
    assert_eq!(prompt[0]["content"]["text"], "Ada");
    let resource = ReadResourceRequestParams::new("file:///r");
    let read = tools.read_resource_with(resource.clone(), answering());
    assert_eq!(json!(read.await.unwrap().contents)[0]["text"], "Ada");

    let session = tools.session().await.unwrap();
    let read = session.read_resource_with(resource, answering());
    assert_eq!(json!(read.await.unwrap().contents)[0]["text"], "Ada");
    drop(session);
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn rounds_without_an_end_are_an_error_of_their_own() {
    let (manager, tools) = tools().await;
    let endless = || GetPromptRequestParams::new("endless");
    let error = tools
        .get_prompt_with(endless(), answering())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(
        error.to_string().contains("in each of 10 rounds"),
        "{error}"
    );
    let options = answering().max_rounds(3);
    let error: Error = tools.get_prompt_with(endless(), options).await.unwrap_err();
    let plain: ServiceError = error.into();
    assert!(matches!(
        plain,
        ServiceError::InputRequiredRoundsExceeded { max_rounds: 3 }
    ));
    manager.shutdown().await;
}

#[tokio::test]
async fn a_task_that_a_tool_starts_is_the_callers() {
    let (manager, tools) = tools().await;
    let started = tools.call_tool(CallToolRequestParams::new("slow")).await;
    let error = started.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Task, "{error}");
    let task = error.task().unwrap().task.task_id.clone();
    assert_eq!(task, "task-7");
    assert!(error.to_string().contains("task-7"), "{error}");

    let once = tools
        .call_tool_once(CallToolRequestParams::new("slow"))
        .await;
    assert!(matches!(once, Ok(CallToolResponse::Task(_))), "{once:?}");
    tools
        .cancel_task(CancelTaskParams::new(task))
        .await
        .unwrap();
    let unknown = tools.cancel_task(CancelTaskParams::new("other")).await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::Protocol);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_task_is_looked_at_and_given_input() {
    let (manager, tools) = tools().await;
    let state = tools.get_task(GetTaskParams::new("task-7")).await.unwrap();
    assert_eq!(json!(state)["taskId"], "task-7");
    let input = |task: &str| {
        let params = json!({ "taskId": task, "inputResponses": {} });
        serde_json::from_value::<UpdateTaskParams>(params).unwrap()
    };
    tools.update_task(input("task-7")).await.unwrap();
    let unknown = tools.update_task(input("other")).await;
    assert_eq!(unknown.unwrap_err().kind(), ErrorKind::Protocol);
    manager.shutdown().await;
}

#[tokio::test]
async fn a_completion_takes_options_on_a_pool_and_on_a_held_session() {
    let (manager, tools) = tools().await;
    let reference = Reference::for_prompt("p");
    let params = CompleteRequestParams::new(reference, ArgumentInfo::new("language", "r"));
    let completed = tools.complete_with(params.clone(), answering()).await;
    assert_eq!(completed.unwrap().completion.values, ["rust"]);
    let session = tools.session().await.unwrap();
    let completed = session.complete_with(params, answering()).await;
    assert_eq!(completed.unwrap().completion.values, ["rust"]);
    drop(session);
    manager.shutdown().await;
}

#[tokio::test]
async fn the_questions_of_one_round_are_bounded() {
    let (manager, tools) = tools().await;
    let error = tools.get_prompt_with(GetPromptRequestParams::new("101"), answering());
    let error = error.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("makes no sense"), "{error}");
    manager.shutdown().await;
}
