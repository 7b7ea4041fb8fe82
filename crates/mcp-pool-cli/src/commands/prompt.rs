//! `mcp-pool prompt`: gets a prompt.

use clap::Args;
use mcp_pooled_tools::Request;
use serde_json::{Map, Value, json};

use crate::{
    arguments,
    content::Contents,
    context::Context,
    failure::Failure,
    nearest,
    servers::{self, Servers, Wanted},
    terminal,
    tools::{List, dotted},
};

/// Gets a prompt.
#[derive(Debug, Args)]
pub(crate) struct Prompt {
    /// The prompt, as `server.prompt`, `server__prompt`, or its own name alone.
    #[arg(value_name = "PROMPT")]
    name: String,

    /// Arguments of the prompt, all of them texts.
    #[arg(value_name = "KEY=VALUE")]
    arguments: Vec<String>,
}

impl Prompt {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let wanted = Wanted {
            maybe_named: Some(&self.name),
            ..Wanted::default()
        };
        servers::with(context, wanted, async |servers| {
            self.get(context, servers).await
        })
    }

    async fn get(&self, context: &Context, servers: &Servers) -> Result<(), Failure> {
        servers.progress().say(format!("getting {}", self.name));
        let prompts = List::of(servers.client(), "prompts/list", "prompts").await?;
        let prompt = find(&prompts, &self.name)?;
        let arguments = arguments::read(Map::new(), &self.arguments, &schema_of(prompt))?;
        let params = json!({ "name": prompt["name"], "arguments": arguments });
        let params = serde_json::value::to_raw_value(&params).map_err(Failure::internal)?;
        let request = Request::from_raw("prompts/get", Some(&params))?;
        let reply = servers
            .client()
            .send(request, servers.options())
            .await?
            .into_raw();
        servers.progress().end();
        if context.json {
            return context.output.json(&reply);
        }
        let result: Value = serde_json::from_str(reply.get()).map_err(Failure::internal)?;
        let messages = result["messages"].as_array().cloned().unwrap_or_default();
        let mut contents = Contents::new(context, None);
        for message in &messages {
            // A single message can be handed to a model as it is.
            if messages.len() > 1 {
                let role = message["role"].as_str().unwrap_or_default();
                terminal::write_text(&format!("{role}:"))?;
            }
            contents.item(&message["content"])?;
        }
        Ok(())
    }
}

/// The prompt of this name.
pub(super) fn find<'a>(prompts: &'a List, name: &str) -> Result<&'a Value, Failure> {
    let exposed = |prompt: &Value| prompt["name"].as_str().unwrap_or_default().to_owned();
    let own = |prompt: &Value| {
        let exposed = exposed(prompt);
        let own = exposed.split_once("__").map(|(_, own)| own.to_owned());
        own.unwrap_or(exposed)
    };
    let is_named = |prompt: &&Value| exposed(prompt) == name || dotted(&exposed(prompt)) == name;
    if let Some(prompt) = prompts.items.iter().find(is_named) {
        return Ok(prompt);
    }
    let named: Vec<_> = prompts
        .items
        .iter()
        .filter(|one| own(one) == name)
        .collect();
    let shown = name.escape_debug();
    match named.as_slice() {
        [one] => return Ok(one),
        [] => {}
        several => {
            let names: Vec<_> = several.iter().map(|one| dotted(&exposed(one))).collect();
            let message = format!("prompt `{shown}` is ambiguous: {}", names.join(", "));
            return Err(Failure::usage(message));
        }
    }
    if let Some(missing) = prompts.missing.first().filter(|_| prompts.items.is_empty()) {
        return Err(missing.failure());
    }
    let names: Vec<_> = prompts
        .items
        .iter()
        .map(|one| dotted(&exposed(one)))
        .collect();
    let hint = nearest::hint(name, names.iter().map(String::as_str));
    Err(
        Failure::usage(format!("there is no prompt `{shown}`{hint}"))
            .fix("mcp-pool list --prompts"),
    )
}

/// The arguments of a prompt as a schema.
fn schema_of(prompt: &Value) -> Value {
    let arguments = prompt["arguments"].as_array().into_iter().flatten();
    let named = arguments.filter_map(|one| Some((one["name"].as_str()?, one)));
    let named: Vec<_> = named.collect();
    let properties = named
        .iter()
        .map(|(name, _)| ((*name).to_owned(), json!({ "type": "string" })));
    let required = named.iter().filter(|(_, one)| one["required"] == true);
    json!({
        "properties": properties.collect::<Map<_, _>>(),
        "required": required.map(|(name, _)| *name).collect::<Vec<_>>(),
        "additionalProperties": false,
    })
}
