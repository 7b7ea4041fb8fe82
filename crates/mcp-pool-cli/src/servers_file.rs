//! The file of servers that `add`, `import` and their like change: this user's own, or the one that `--config` names.

use std::path::PathBuf;

use mcp_config::{Config, ConfigError, Document, Loader, Problem, ServerConfig};
use serde_json::{Value, json};

use crate::{
    clients::{identity, is_off},
    context::Context,
    failure::Failure,
    nearest::nearest,
    safe_write::{self, EditLock},
};

/// A file of servers, open for changes. No other process changes it meanwhile.
#[derive(Debug)]
pub(crate) struct ServersFile {
    pub(crate) path: PathBuf,
    document: Document,
    /// The names above the servers.
    table: Vec<&'static str>,
    /// The document as it was opened.
    opened: String,
    is_new: bool,
    _lock: EditLock,
}

impl ServersFile {
    /// Opens the file for changes, waiting for those of others to end.
    pub(crate) fn open(context: &Context) -> Result<Self, Failure> {
        let mut files = context.files();
        let path = match (files.pop(), files.is_empty()) {
            (Some(path), true) => path,
            _ => {
                return Err(Failure::usage("several files are named").fix("name the one to change"));
            }
        };
        let lock = EditLock::take(&context.folders)?;
        let is_new = !path.exists();
        let document = Document::open(&path).map_err(Failure::usage)?;
        Ok(Self {
            table: table_of(&document),
            path,
            opened: document.text().to_owned(),
            document,
            is_new,
            _lock: lock,
        })
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = (&str, &Value)> {
        let looks = |(_, entry): &(&str, &Value)| entry.is_object();
        self.document.table(&self.table).filter(looks)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.document.get(&self.at(&[name]))
    }

    /// The entry of a server.
    ///
    /// # Errors
    /// If there is none: the message names the nearest one.
    pub(crate) fn known(&self, name: &str) -> Result<&Value, Failure> {
        self.get(name).ok_or_else(|| {
            let names = self.servers().map(|(name, _)| name);
            let failure = Failure::usage(format!(
                "there is no server {name} in {}",
                self.path.display()
            ));
            match nearest(name, names) {
                Some(near) => failure.fix(format!("did you mean {near}?")),
                None => failure.fix("mcp-pool list"),
            }
        })
    }

    /// The server that is started or reached in the same way.
    pub(crate) fn same(&self, entry: &Value) -> Option<&str> {
        let wanted = identity(entry);
        let mut servers = self.servers();
        servers
            .find(|(_, entry)| identity(entry) == wanted)
            .map(|(name, _)| name)
    }

    pub(crate) fn set(&mut self, path: &[&str], value: &Value) -> Result<(), Failure> {
        let path = self.at(path);
        self.document.set(&path, value).map_err(Failure::usage)
    }

    pub(crate) fn remove(&mut self, path: &[&str]) -> Result<Option<Value>, Failure> {
        let path = self.at(path);
        self.document.remove(&path).map_err(Failure::usage)
    }

    /// Writes the file, and what it was before beside it.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        if self.document.text() == self.opened {
            return Ok(());
        }
        safe_write::check(&self.path)?;
        if !self.is_new {
            safe_write::back_up(&self.path, &self.opened)?;
        }
        safe_write::replace(&self.path, self.document.text())
    }

    fn at<'a>(&self, path: &[&'a str]) -> Vec<&'a str> {
        self.table
            .iter()
            .copied()
            .chain(path.iter().copied())
            .collect()
    }
}

/// Switches a server on or off.
pub(crate) fn switch(context: &Context, name: &str, on: bool) -> Result<(), Failure> {
    let mut file = ServersFile::open(context)?;
    let was_on = !is_off(file.known(name)?);
    let has = |field: &str| {
        file.get(name)
            .is_some_and(|entry| entry.get(field).is_some())
    };
    // Clients have two words for it. The one that is there is used.
    let (enabled, disabled) = (has("enabled"), has("disabled"));
    if enabled {
        file.set(&[name, "enabled"], &on.into())?;
    }
    if disabled && on {
        file.remove(&[name, "disabled"])?;
    } else if !on && (disabled || !enabled) {
        file.set(&[name, "disabled"], &true.into())?;
    }
    file.write()?;
    let word = if on { "on" } else { "off" };
    match context.json {
        true => context.output.json(&json!({
            "server": name,
            "enabled": on,
            "changed": was_on != on,
            "file": file.path,
        })),
        false if was_on == on => context.output.line(format!("{name} is {word} already.")),
        false => context.output.line(format!("Switched {name} {word}.")),
    }
}

/// What is wrong with an entry, as the loader sees it.
pub(crate) fn problems(name: &str, entry: &Value) -> Vec<String> {
    let short = |problem: &Problem| {
        let path = problem.path.rsplit_once('.').map_or("", |(_, field)| field);
        let hint = problem.hint.as_ref().map(|hint| format!(", {hint}"));
        format!("{path}: {}{}", problem.message, hint.unwrap_or_default())
    };
    match loaded(name, entry) {
        Ok(config) => config.problems().map(short).collect(),
        Err(error) => error.problems().iter().map(short).collect(),
    }
}

/// The fields of an entry that hold a secret in plain text.
pub(crate) fn plain_secrets(name: &str, entry: &Value) -> Vec<String> {
    let loaded = loaded(name, entry);
    let entry = loaded
        .as_ref()
        .ok()
        .and_then(|config| config.servers.get(name));
    let server = entry.and_then(|entry| entry.server().ok());
    server.map_or_else(Vec::new, ServerConfig::plain_secrets)
}

fn loaded(name: &str, entry: &Value) -> Result<Config, ConfigError> {
    let text = json!({ "mcpServers": { name: entry } }).to_string();
    Loader::new()
        .process_environment()
        .text("entry", text)
        .load()
}

/// Where a file has its servers, in the order in which the loader looks.
fn table_of(document: &Document) -> Vec<&'static str> {
    let there = |path: &[&str]| document.get(path).is_some();
    let bare = || {
        document
            .table(&[])
            .any(|(_, entry)| entry.get("command").is_some() || entry.get("url").is_some())
    };
    if there(&["mcpServers"]) {
        vec!["mcpServers"]
    } else if there(&["servers"]) {
        vec!["servers"]
    } else if there(&["mcp", "servers"]) {
        vec!["mcp", "servers"]
    } else if bare() {
        Vec::new()
    } else {
        vec!["mcpServers"]
    }
}
