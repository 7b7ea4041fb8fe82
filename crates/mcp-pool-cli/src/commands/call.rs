//! `mcp-pool call`: calls a tool.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use mcp_pooled_tools::{Reply, ReplyKind, Request};
use serde_json::{Map, Value, json};

use crate::{
    arguments, completion,
    content::Contents,
    context::Context,
    duration,
    exit::Exit,
    failure::Failure,
    servers::{self, Servers, Wanted},
    signature,
    tools::{self, Tool},
};

/// Calls a tool.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-pool call time.get_current_time timezone=Europe/Berlin
  mcp-pool call maps.route from=Rome to=Bari 'via:=[\"Naples\"]'
  echo '{\"query\": \"pools\"}' | mcp-pool call docs.search --args -")]
pub(crate) struct Call {
    /// The tool, as `server.tool` or `server__tool`.
    #[arg(value_name = "SERVER.TOOL", add = ArgValueCompleter::new(completion::tools))]
    tool: String,

    /// Arguments: `key=value` by the type that the tool's schema says, `key:=json` as JSON.
    #[arg(value_name = "KEY=VALUE", add = ArgValueCompleter::new(completion::arguments))]
    arguments: Vec<String>,

    /// All arguments as one JSON object, or `-` to read it from standard input.
    #[arg(long, value_name = "JSON")]
    args: Option<String>,

    /// Saves images, audio and other bytes of the result to a file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Limits the call, as `30s`. Default: the server's `call_timeout`, which begins again at each progress.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    timeout: Option<Duration>,
}

impl Call {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let whole = arguments::whole(self.args.as_deref())?;
        let wanted = Wanted {
            named: Some(&self.tool),
            ..Wanted::default()
        };
        servers::with(context, wanted, async |servers| {
            self.call(context, servers, whole).await
        })
    }

    async fn call(
        &self,
        context: &Context,
        servers: &Servers,
        whole: Map<String, Value>,
    ) -> Result<(), Failure> {
        let tools = servers.tools().await?;
        let tool = tools::callable(context, servers, &tools, &self.tool).await?;
        let schema = &tool.definition["inputSchema"];
        let arguments = arguments::read(whole, &self.arguments, schema).map_err(|failure| {
            let usage = signature::of_tool(&tool.dotted(), &tool.definition, 100);
            failure
                .details([usage])
                .fix(format!("mcp-pool list {}", tool.dotted()))
        })?;
        let params = json!({ "name": tool.exposed, "arguments": arguments });
        let params = serde_json::value::to_raw_value(&params).map_err(Failure::internal)?;
        let request = Request::from_raw("tools/call", Some(&params))?;
        let options = match self.timeout {
            Some(limit) => servers.options().timeout(limit),
            None => servers.options().reset_on_progress(),
        };
        servers.progress().say(format!("calling {}", tool.dotted()));
        let reply = servers.client().send(request, options).await?;
        servers.progress().end();
        self.show(context, tool, reply).await
    }

    async fn show(&self, context: &Context, tool: &Tool, reply: Reply) -> Result<(), Failure> {
        if reply.kind() == ReplyKind::Task {
            reply.parse_tool_result().await?;
            return Ok(());
        }
        let result: Value = serde_json::from_str(reply.raw().get()).map_err(Failure::internal)?;
        let failed = reply.is_tool_error();
        if context.json {
            context.output.json(&reply.raw())?;
        }
        if failed {
            let message = format!("tool `{}` reported an error", tool.dotted());
            let failure = Failure::new(Exit::ToolError, message);
            let items = result["content"].as_array().into_iter().flatten();
            let text = items.filter_map(|item| item["text"].as_str());
            let lines = text.flat_map(str::lines).map(crate::terminal::harmless);
            return Err(failure.details(lines));
        }
        if context.json {
            return Ok(());
        }
        Contents::new(context, self.output.as_deref()).tool_result(&result)
    }
}
