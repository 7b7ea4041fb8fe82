//! An agent of rig whose tools are those of all servers of a pool.
//!
//! rig-rmcp has an rmcp of its own, so it gets the pipe of the aggregate and not an rmcp client. The model is a script: it
//! calls one tool and then says what it got.

use std::process::ExitCode;

use anyhow::Context as _;
use mcp_pool_agents::{QUESTION, TOOL, servers};
use rig_agent::{prelude::*, tool::server::ToolServer};
use rig_core::test_utils::{MockCompletionModel, MockTurn};
use rig_rmcp::{McpClientHandler, rmcp::model::ClientInfo};
use serde_json::json;

async fn run() -> anyhow::Result<()> {
    let manager = servers().await?;

    // All tools of all servers, kept as the servers list them.
    let tools = ToolServer::new().run();
    let pipe = manager.aggregator().in_process_pipe().await?;
    let client = McpClientHandler::new(ClientInfo::default(), tools.clone())
        .connect(pipe)
        .await?;

    let model = MockCompletionModel::from_turns([
        MockTurn::tool_call("1", TOOL, json!({ "a": 2, "b": 3 })),
        MockTurn::text("It is 5."),
    ]);
    let agent = AgentBuilder::new(model.clone())
        .tool_server_handle(tools)
        .default_max_turns(2)
        .build();
    let answer = agent.prompt(QUESTION).await?;
    println!("{QUESTION} {answer}");

    // What the model was sent after its call.
    let requests = model.requests();
    let last = requests.last().context("the model was asked")?;
    let seen = serde_json::to_string(&last.chat_history)?;
    anyhow::ensure!(seen.contains("5.0"), "the model did not see the sum: {seen}");

    client.cancel().await?;
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
