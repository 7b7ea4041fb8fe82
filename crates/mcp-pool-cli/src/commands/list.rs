//! `mcp-pool list`: servers and tools.

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use crate::{
    completion,
    context::Context,
    duration,
    failure::Failure,
    servers::{self, Servers, Wanted},
    signature, terminal,
    tools::{self, Effect, Missing, Tool, Tools, dotted},
};

/// Lists servers and their tools.
///
/// Lists that are known are shown without starting their servers; `--refresh` asks the servers. A server that cannot be
/// listed is named on standard error. The exit code is 4 only if there is nothing else to show.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// A server, or one of its tools.
    #[arg(value_name = "SERVER[.TOOL]", add = ArgValueCompleter::new(completion::servers_and_tools))]
    name: Option<String>,

    /// Shows the schemas of the tool, as JSON.
    #[arg(long, requires = "name", conflicts_with_all = ["prompts", "resources"])]
    schema: bool,

    /// Lists prompts.
    #[arg(long, conflicts_with = "resources")]
    prompts: bool,

    /// Lists resources and resource templates.
    #[arg(long)]
    resources: bool,

    /// Asks the servers, though their lists are known.
    #[arg(long)]
    refresh: bool,

    /// How long to wait for a server.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
}

impl List {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let wanted = Wanted {
            named: self.name.as_deref(),
            list_timeout: Some(self.timeout),
            refresh: self.refresh,
            ..Wanted::default()
        };
        servers::with(context, wanted, async |servers| {
            match (self.prompts, self.resources) {
                (true, _) => self.prompts(context, servers).await,
                (_, true) => self.resources(context, servers).await,
                _ => self.tools(context, servers).await,
            }
        })
    }

    async fn tools(&self, context: &Context, servers: &Servers) -> Result<(), Failure> {
        let mut tools = servers.tools().await?;
        servers.progress().end();
        if let Some(name) = &self.name
            && !tools.tools.iter().any(|tool| tool.server == *name)
            && !servers.names().contains(name)
        {
            let exposed = tools.find(name)?.exposed.clone();
            tools.tools.retain(|tool| tool.exposed == exposed);
            tools.missing.clear();
        } else if let Some(name) = &self.name {
            tools.tools.retain(|tool| tool.server == *name);
            tools.missing.retain(|missing| missing.server == *name);
        }
        if context.json {
            context.output.json(&tools.document(&tools.tools))?;
            return tools.check();
        }
        match (self.schema, tools.tools.as_slice()) {
            (true, tools) => schemas(tools)?,
            (_, [tool]) if self.name.as_ref() != Some(&tool.server) => details(tool)?,
            (_, _) => {
                let servers = match &self.name {
                    None => servers.names(),
                    Some(_) => Vec::new(),
                };
                overview(&tools, &servers, self.name.is_some())?;
                legend(context, &tools.tools);
            }
        }
        tools.check()?;
        name_missing(context, &tools.missing);
        Ok(())
    }

    async fn prompts(&self, context: &Context, servers: &Servers) -> Result<(), Failure> {
        let list = tools::List::of(servers.client(), "prompts/list", "prompts").await?;
        servers.progress().end();
        if context.json {
            let document = json!({ "prompts": list.items, "missing": list.missing });
            context.output.json(&document)?;
        } else {
            for prompt in &list.items {
                let arguments = prompt["arguments"].as_array().into_iter().flatten();
                let arguments = arguments.map(|one| {
                    let mark = if one["required"] == true { "" } else { "?" };
                    format!("{}{mark}", one["name"].as_str().unwrap_or_default())
                });
                let arguments: Vec<_> = arguments.collect();
                let name = dotted(prompt["name"].as_str().unwrap_or_default());
                entry(&format!("{name}({})", arguments.join(", ")), prompt)?;
            }
            name_missing(context, &list.missing);
        }
        check(list.items.is_empty(), &list.missing)
    }

    async fn resources(&self, context: &Context, servers: &Servers) -> Result<(), Failure> {
        let client = servers.client();
        let list = tools::List::of(client, "resources/list", "resources").await?;
        let method = "resources/templates/list";
        let templates = tools::List::of(client, method, "resourceTemplates").await?;
        servers.progress().end();
        if context.json {
            let document = json!({
                "resources": list.items,
                "resourceTemplates": templates.items,
                "missing": list.missing,
            });
            context.output.json(&document)?;
        } else {
            for (items, key) in [(&list.items, "uri"), (&templates.items, "uriTemplate")] {
                for item in items {
                    entry(item[key].as_str().unwrap_or_default(), item)?;
                }
            }
            name_missing(context, &list.missing);
        }
        let empty = list.items.is_empty() && templates.items.is_empty();
        check(empty, &list.missing)
    }
}

/// All tools under the names of their servers.
fn overview(tools: &Tools, servers: &[String], described: bool) -> Result<(), Failure> {
    let width = terminal::width();
    let mut names: Vec<&str> = tools.tools.iter().map(|tool| &*tool.server).collect();
    let is_missing = |name: &str| tools.missing.iter().any(|missing| missing.server == name);
    let silent = servers.iter().filter(|name| !is_missing(name));
    names.extend(silent.map(String::as_str));
    names.sort_unstable();
    names.dedup();
    for (index, server) in names.into_iter().enumerate() {
        if index > 0 {
            line("")?;
        }
        let of_server = || tools.tools.iter().filter(|tool| tool.server == *server);
        let count = match of_server().count() {
            0 => "no tools".to_owned(),
            1 => "1 tool".to_owned(),
            many => format!("{many} tools"),
        };
        line(&format!("{} ({count})", terminal::harmless(server)))?;
        for tool in of_server() {
            let signature = signature::of_tool(&tool.name, &tool.definition, width - 4);
            line(&format!("  {} {signature}", tool.effect().mark()))?;
            if described {
                let text = terminal::shortened(tool.description(), width.saturating_sub(6));
                if !text.is_empty() {
                    line(&format!("      {text}"))?;
                }
            }
        }
    }
    Ok(())
}

/// Everything about one tool.
fn details(tool: &Tool) -> Result<(), Failure> {
    let width = terminal::width();
    line(&signature::of_tool(
        &tool.dotted(),
        &tool.definition,
        usize::MAX,
    ))?;
    line(&format!("  {}", tool.effect().words()))?;
    if !tool.description().is_empty() {
        line("")?;
        for text in terminal::wrapped(tool.description(), 2, width) {
            line(&text)?;
        }
    }
    let schema = &tool.definition["inputSchema"];
    let mut example = format!("mcp-pool call {}", tool.dotted());
    let arguments: Vec<_> = signature::properties(schema, schema).collect();
    if arguments.is_empty() {
        return line(&format!("\n  {example}"));
    }
    line("\nArguments:")?;
    for (name, property) in arguments {
        let kind = signature::of_schema(property, schema);
        let required = signature::is_required(schema, schema, name);
        let note = if required { ", required" } else { "" };
        line(&format!("  {}: {kind}{note}", terminal::harmless(name)))?;
        let description = property["description"].as_str().unwrap_or_default();
        for text in terminal::wrapped(description, 6, width) {
            line(&text)?;
        }
        if required {
            example.push_str(&format!(" {name}=..."));
        }
    }
    line(&format!("\n  {example}"))
}

fn schemas(tools: &[Tool]) -> Result<(), Failure> {
    for tool in tools {
        let schemas = ["inputSchema", "outputSchema"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), tool.definition.get(key)?.clone())));
        let schemas: Value = schemas.collect::<serde_json::Map<_, _>>().into();
        line(&format!("{schemas:#}"))?;
    }
    Ok(())
}

/// A name and what it is.
fn entry(name: &str, item: &Value) -> Result<(), Failure> {
    line(&terminal::shortened(name, usize::MAX))?;
    let text = item["description"].as_str().unwrap_or_default();
    match terminal::shortened(text, terminal::width().saturating_sub(4)) {
        text if text.is_empty() => Ok(()),
        text => line(&format!("    {text}")),
    }
}

/// What the marks mean that were shown.
fn legend(context: &Context, tools: &[Tool]) {
    let all = [
        (Effect::Reads, "only reads"),
        (Effect::Writes, "writes"),
        (Effect::Destroys, "may destroy"),
        (Effect::Unknown, "does not say"),
    ];
    let shown = all.into_iter().filter(|(effect, _)| {
        let has = |tool: &Tool| tool.effect() == *effect;
        tools.iter().any(has)
    });
    let shown: Vec<_> = shown
        .map(|(effect, words)| format!("{} {words}", effect.mark()))
        .collect();
    if !shown.is_empty() {
        context.output.note(format!("\n{}", shown.join(" · ")));
    }
}

fn name_missing(context: &Context, missing: &[Missing]) {
    for missing in missing {
        context.output.note(format!("missing: {}", missing.error));
    }
}

fn check(empty: bool, missing: &[Missing]) -> Result<(), Failure> {
    match missing.first() {
        Some(missing) if empty => Err(missing.failure()),
        _ => Ok(()),
    }
}

fn line(text: &str) -> Result<(), Failure> {
    terminal::write_text(&format!("{text}\n"))
}
