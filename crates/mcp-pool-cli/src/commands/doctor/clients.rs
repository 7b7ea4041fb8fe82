//! Section Clients: the files in which clients keep their servers.

use std::{collections::BTreeSet, path::Path};

use clap::ValueEnum as _;
use mcp_config::Document;
use serde_json::Value;

use super::{catalog, finding::Finding};
use crate::{
    clients::{Client, ClientFile, identity, is_off, is_ours},
    context::Context,
};

/// Looks at the files of this user's clients, and at those of the current folder. `tools` is how many there are.
pub(super) fn check(context: &Context, tools: usize, findings: &mut Vec<Finding>) {
    let folder = std::env::current_dir().ok();
    let clients = Client::value_variants();
    let mut ours: Option<Vec<(String, Value)>> = None;
    let mut seen = BTreeSet::new();
    for file in ClientFile::there(clients, &context.folders, folder.as_deref()) {
        // In the home folder a file of the user is that of the project, too.
        if !seen.insert((file.path.clone(), file.table().join("."))) {
            continue;
        }
        let title = file.client.title();
        let document = match file.open() {
            Ok(document) => document,
            Err(problem) => {
                let found = catalog::BROKEN_CLIENT_FILE.found(format!("{title}: {problem}"));
                findings.push(found.fix(format!("edit {}", file.path.display())));
                continue;
            }
        };
        let table = file.table();
        let mut entries = document.table(&table);
        if !entries.any(|(_, entry)| is_ours(entry) && !is_off(entry)) {
            continue;
        }
        let ours = ours.get_or_insert_with(|| own_entries(context));
        twice(&file, &document, ours, findings);
        if let Some(limit) = limit(file.client).filter(|limit| tools > *limit) {
            let message = format!("{title} takes {limit} tools, and there are {tools}");
            let found = catalog::TOO_MANY_TOOLS.found(message);
            let fix = "name the tools that are needed: \"aggregator\": {\"allow\": [..]} in an entry, \
                       or set tool_search in the table gateway";
            findings.push(found.fix(fix));
        }
    }
}

/// Servers that the client starts by itself although they are behind `mcp-pool`.
fn twice(
    file: &ClientFile,
    document: &Document,
    ours: &[(String, Value)],
    findings: &mut Vec<Finding>,
) {
    for server in file.servers(document) {
        let Ok(entry) = server.entry else { continue };
        if is_off(&entry) {
            continue;
        }
        let own = identity(&entry);
        let Some((name, _)) = ours.iter().find(|(_, ours)| *ours == own) else {
            continue;
        };
        let title = file.client.title();
        let message = format!(
            "{title} starts {}, and has it through mcp-pool",
            server.name
        );
        let found = catalog::TWICE_IN_CLIENT.found(message).of(name);
        let found = found.cause(file.path.display().to_string());
        let fix = format!("mcp-pool install --client {}", file.client.name());
        findings.push(found.fix(fix));
    }
}

/// The servers of our own files, each by what makes it the same as another.
fn own_entries(context: &Context) -> Vec<(String, Value)> {
    let files = context.files();
    let documents = files
        .iter()
        .filter_map(|file| Document::open(Path::new(file)).ok());
    let entries = documents.flat_map(|document| {
        let entries = document.table(&["mcpServers"]);
        let own = entries.filter(|(_, entry)| !is_off(entry));
        own.map(|(name, entry)| (name.to_owned(), identity(entry)))
            .collect::<Vec<_>>()
    });
    entries.collect()
}

/// Beyond how many tools a client leaves some out or chooses among them badly. Windsurf documents its limit, VS Code sends at most
/// as many with a request, and of Cursor users report it.
fn limit(client: Client) -> Option<usize> {
    match client {
        Client::Cursor => Some(40),
        Client::Windsurf => Some(100),
        Client::VsCode => Some(128),
        _ => None,
    }
}
