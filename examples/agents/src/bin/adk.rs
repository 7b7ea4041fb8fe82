//! An agent of adk whose tools are those of all servers of a pool.
//!
//! adk has the pool's rmcp, so it takes the client of `serve_in_process`. The model is a script: it calls one tool and then says
//! what it got.

use std::{collections::HashMap, process::ExitCode, sync::Arc};

use adk_agent::LlmAgentBuilder;
use adk_core::{Content, Llm, LlmRequest, LlmResponse, LlmResponseStream, Part, async_trait};
use adk_runner::Runner;
use adk_session::{CreateRequest, InMemorySessionService, SessionService};
use adk_tool::McpToolset;
use futures::StreamExt as _;
use mcp_pool_agents::{QUESTION, TOOL, servers};
use serde_json::json;

/// A model that calls one tool and then quotes its result.
struct Script;

#[async_trait]
impl Llm for Script {
    fn name(&self) -> &str {
        "script"
    }

    async fn generate_content(
        &self,
        request: LlmRequest,
        _stream: bool,
    ) -> adk_core::Result<LlmResponseStream> {
        let result = request
            .contents
            .iter()
            .flat_map(|content| &content.parts)
            .find_map(|part| match part {
                Part::FunctionResponse {
                    function_response, ..
                } => Some(&function_response.response),
                _ => None,
            });
        let content = match result {
            Some(result) => Content::new("model").with_text(format!("The tool says {result}.")),
            None => Content {
                role: "model".into(),
                parts: vec![Part::FunctionCall {
                    name: TOOL.into(),
                    args: json!({ "a": 2, "b": 3 }),
                    id: Some("1".into()),
                    thought_signature: None,
                }],
            },
        };
        let response = Ok(LlmResponse::new(content));
        Ok(Box::pin(futures::stream::iter([response])))
    }
}

async fn run() -> anyhow::Result<()> {
    let manager = servers().await?;
    let client = manager.aggregator().serve_in_process().await?;

    let agent = LlmAgentBuilder::new("agent")
        .model(Arc::new(Script))
        .toolset(Arc::new(McpToolset::new(client)))
        .build()?;
    let sessions = Arc::new(InMemorySessionService::new());
    let (app, user, session) = ("example", "user", "session");
    sessions
        .create(CreateRequest {
            app_name: app.into(),
            user_id: user.into(),
            session_id: Some(session.into()),
            state: HashMap::new(),
        })
        .await?;
    let runner = Runner::builder()
        .app_name(app)
        .agent(Arc::new(agent))
        .session_service(sessions)
        .build()?;
    let question = Content::new("user").with_text(QUESTION);
    let mut events = runner.run_str(user, session, question).await?;
    let mut answer = String::new();
    while let Some(event) = events.next().await {
        for part in event?
            .llm_response
            .content
            .into_iter()
            .flat_map(|content| content.parts)
        {
            if let Part::Text { text } = part {
                answer.push_str(&text);
            }
        }
    }
    println!("{QUESTION} {answer}");
    anyhow::ensure!(
        answer.contains("\"sum\":5"),
        "the model did not see the sum"
    );

    manager.shutdown().await;
    Ok(())
}

fn main() -> anyhow::Result<ExitCode> {
    // This program is its own servers.
    if mcp_testkit::is_server_invocation() {
        return Ok(mcp_testkit::main());
    }
    tokio::runtime::Runtime::new()?.block_on(run())?;
    Ok(ExitCode::SUCCESS)
}
