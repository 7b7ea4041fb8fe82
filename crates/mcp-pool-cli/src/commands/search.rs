//! `mcp-pool search`: tools by words.

use clap::Args;
use serde_json::Value;

use crate::{
    context::Context,
    failure::Failure,
    servers::{self, Wanted},
    signature, terminal,
};

/// Searches tools by words, as the gateway's `search_tools` does.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// What the tool is to do.
    #[arg(required = true)]
    words: Vec<String>,

    /// Tools to show at most.
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 10)]
    limit: usize,
}

impl Search {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        servers::with(context, Wanted::default(), async |servers| {
            let tools = servers.tools().await?;
            servers.progress().end();
            let definitions: Vec<Value> = tools
                .tools
                .iter()
                .map(|tool| {
                    let mut definition = tool.definition.clone();
                    definition["name"] = tool.exposed.as_str().into();
                    definition
                })
                .collect();
            let found = mcp_gateway::rank_tools(&self.words.join(" "), &definitions, self.limit);
            let found: Vec<_> = found.into_iter().map(|index| &tools.tools[index]).collect();
            if context.json {
                context.output.json(&tools.document(found))?;
                return tools.check();
            }
            tools.check()?;
            let width = terminal::width();
            for tool in &found {
                let signature = signature::of_tool(&tool.dotted(), &tool.definition, width - 2);
                let mark = tool.effect().mark();
                terminal::write_text(&format!("{mark} {signature}"))?;
                let text = terminal::shortened(tool.description(), width - 4);
                if !text.is_empty() {
                    terminal::write_text(&format!("    {text}"))?;
                }
            }
            if found.is_empty() {
                context.output.note("no tool has one of these words");
            }
            for missing in &tools.missing {
                context.output.note(format!("missing: {}", missing.error));
            }
            Ok(())
        })
    }
}
