//! What the shell may complete: servers by the configuration, tools and their arguments by the lists on disk.
//!
//! No server is started and nothing is connected to: a shell waits for it at every press of a key.

use std::{collections::BTreeSet, ffi::OsStr};

use clap_complete::engine::CompletionCandidate;
use mcp_pooled_tools::ToolTarget;
use serde_json::Value;

use crate::{context::Context, folders::Folders, output::Output, signature, tools};

/// `server.tool`, and `server.` where the tools are not known.
pub(crate) fn tools(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(known) = Known::read(current) else {
        return Vec::new();
    };
    let listed: BTreeSet<_> = known.tools.iter().map(|tool| &*tool.server).collect();
    let unlisted = known
        .servers
        .iter()
        .filter(|name| !listed.contains(name.as_str()));
    let unlisted = unlisted.map(|name| CompletionCandidate::new(format!("{name}.")));
    let tools = known.tools.iter().map(candidate);
    beginning(&known.begun, tools.chain(unlisted))
}

/// The same, and the servers themselves.
pub(crate) fn servers_and_tools(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(known) = Known::read(current) else {
        return Vec::new();
    };
    let servers = known.servers.iter().map(CompletionCandidate::new);
    // Hundreds of tools hide the servers.
    let tools = known.tools.iter().filter(|_| known.begun.contains('.'));
    beginning(&known.begun, servers.chain(tools.map(candidate)))
}

/// The servers.
pub(crate) fn servers(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(known) = Known::read(current) else {
        return Vec::new();
    };
    let servers = known.servers.iter().map(CompletionCandidate::new);
    beginning(&known.begun, servers)
}

/// `key=` of the tool that the line calls.
pub(crate) fn arguments(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(known) = Known::read(current) else {
        return Vec::new();
    };
    let words: Vec<_> = std::env::args().collect();
    let named = |tool: &&ToolTarget| words.contains(&dotted(tool));
    let Some(definition) = known.tools.iter().find(named).and_then(definition) else {
        return Vec::new();
    };
    let schema = &definition["inputSchema"];
    let keys = signature::properties(schema, schema).map(|(name, property)| {
        let help = signature::of_schema(property, schema);
        CompletionCandidate::new(format!("{name}=")).help(Some(help.into()))
    });
    beginning(&known.begun, keys)
}

/// What is on disk.
struct Known {
    begun: String,
    servers: BTreeSet<String>,
    tools: Vec<ToolTarget>,
}

impl Known {
    fn read(current: &OsStr) -> Option<Self> {
        let context = Context {
            folders: Folders::of_user().ok()?,
            config: Vec::new(),
            json: false,
            output: Output {
                quiet: true,
                verbose: 0,
            },
        };
        let config = context.loader().ok().and_then(|loader| loader.load().ok());
        let servers: BTreeSet<_> = config
            .map(|config| config.usable().map(|(name, ..)| name.to_owned()).collect())
            .unwrap_or_default();
        let mut tools = mcp_pooled_tools::known_tools(tools::catalogue(&context.folders));
        // Lists of servers that were removed are on disk, too.
        tools.retain(|tool| servers.contains(&*tool.server));
        Some(Self {
            begun: current.to_str()?.to_owned(),
            servers,
            tools,
        })
    }
}

fn candidate(tool: &ToolTarget) -> CompletionCandidate {
    let definition = definition(tool).unwrap_or_default();
    let text = definition["description"].as_str().unwrap_or_default();
    let help = crate::terminal::shortened(text, 60);
    let candidate = CompletionCandidate::new(dotted(tool));
    candidate.help((!help.is_empty()).then(|| help.into()))
}

fn dotted(tool: &ToolTarget) -> String {
    format!("{}.{}", tool.server, tool.tool)
}

fn definition(tool: &ToolTarget) -> Option<Value> {
    serde_json::from_str(tool.definition.as_ref()?.get()).ok()
}

fn beginning(
    begun: &str,
    candidates: impl Iterator<Item = CompletionCandidate>,
) -> Vec<CompletionCandidate> {
    let begins = |candidate: &CompletionCandidate| {
        let value = candidate.get_value().to_string_lossy();
        value.starts_with(begun)
    };
    candidates.filter(begins).collect()
}
