//! `mcp-pool complete`: completes an argument.

use clap::Args;
use mcp_pooled_tools::{Request, RequestOptions};
use serde_json::{Map, Value, json};

use super::prompt;
use crate::{
    arguments,
    context::Context,
    failure::Failure,
    servers::{self, Servers, Wanted},
    terminal,
    tools::List,
};

/// Completes an argument of a prompt or a resource template.
#[derive(Debug, Args)]
pub(crate) struct Complete {
    /// The prompt, or the URI template with its braces.
    #[arg(value_name = "PROMPT|TEMPLATE")]
    of: String,

    /// The argument.
    argument: String,

    /// What has been typed of its value.
    #[arg(default_value = "")]
    value: String,

    /// Values of other arguments.
    #[arg(long = "with", value_name = "KEY=VALUE")]
    context: Vec<String>,
}

impl Complete {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let wanted = Wanted {
            maybe_named: (!self.is_template()).then_some(&self.of),
            ..Wanted::default()
        };
        servers::with(context, wanted, async |servers| {
            self.complete(context, servers).await
        })
    }

    fn is_template(&self) -> bool {
        self.of.contains("://") || self.of.contains('{')
    }

    async fn complete(&self, context: &Context, servers: &Servers) -> Result<(), Failure> {
        let client = servers.client();
        let of = if self.is_template() {
            json!({ "type": "ref/resource", "uri": self.of })
        } else {
            let prompts = List::of(client, "prompts/list", "prompts").await?;
            let prompt = prompt::find(&prompts, &self.of)?;
            json!({ "type": "ref/prompt", "name": prompt["name"] })
        };
        let mut params = json!({
            "ref": of,
            "argument": { "name": self.argument, "value": self.value },
        });
        if !self.context.is_empty() {
            let any = json!({ "additionalProperties": true });
            let others = arguments::read(Map::new(), &self.context, &any)?;
            params["context"] = json!({ "arguments": others });
        }
        let params = serde_json::value::to_raw_value(&params).map_err(Failure::internal)?;
        let request = Request::from_raw("completion/complete", Some(&params))?;
        let reply = client
            .send(request, RequestOptions::new())
            .await?
            .into_raw();
        if context.json {
            return context.output.json(&reply);
        }
        let result: Value = serde_json::from_str(reply.get()).map_err(Failure::internal)?;
        let completion = &result["completion"];
        for value in completion["values"].as_array().into_iter().flatten() {
            terminal::write_text(value.as_str().unwrap_or_default())?;
        }
        if completion["hasMore"] == true {
            context.output.note("there are more values");
        }
        Ok(())
    }
}
