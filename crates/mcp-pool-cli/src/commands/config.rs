//! `mcp-pool config`: checks and shows the configuration.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mcp_config::{Config as Loaded, Entry, Origin, Problem, SettingOrigin};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{context::Context, failure::Failure};

/// Checks and shows the configuration.
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Reports everything that is wrong at once; exit code 1 if something is.
    Check,
    /// Shows what is in force, with secrets left out.
    Show {
        /// Every setting, and where its value comes from.
        #[arg(long)]
        origin: bool,
    },
}

/// The document of `config check --json`.
#[derive(Debug, Serialize)]
struct Check {
    ok: bool,
    /// Files that were read.
    files: Vec<PathBuf>,
    servers: usize,
    problems: Vec<Problem>,
    /// Things that look odd and stop nothing.
    notes: Vec<Problem>,
}

impl Config {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            ConfigCommand::Check => check(context),
            ConfigCommand::Show { origin } => show(context, origin),
        }
    }
}

fn check(context: &Context) -> Result<(), Failure> {
    let files: Vec<_> = context
        .files()
        .into_iter()
        .filter(|file| file.exists())
        .collect();
    let check = match context.loader()?.load() {
        Ok(config) => {
            let problems: Vec<_> = config.problems().cloned().collect();
            Check {
                ok: problems.is_empty(),
                files,
                servers: config.servers.len(),
                problems,
                notes: config.notes,
            }
        }
        Err(error) => Check {
            ok: false,
            files,
            servers: 0,
            problems: error.problems().to_vec(),
            notes: Vec::new(),
        },
    };
    let output = context.output;
    if context.json {
        output.json(&check)?;
    } else {
        for problem in check.problems.iter().chain(&check.notes) {
            let word = if check.problems.contains(problem) {
                "error"
            } else {
                "note"
            };
            output.line(lines(word, problem))?;
        }
        if check.files.is_empty() {
            output.line("No file of servers yet. Begin with: mcp-pool import")?;
        } else if check.ok {
            let servers = if check.servers == 1 {
                "server"
            } else {
                "servers"
            };
            output.line(format!("{} {servers}, nothing wrong.", check.servers))?;
        }
    }
    match check.problems.len() {
        0 => Ok(()),
        1 => Err(Failure::usage("the configuration has a mistake")),
        count => Err(Failure::usage(format!(
            "the configuration has {count} mistakes"
        ))),
    }
}

/// The place on a line of its own, for it is long.
fn lines(word: &str, problem: &Problem) -> String {
    let mut text = format!("{word}: {}", problem.source);
    if !problem.path.is_empty() {
        text.push_str(&format!(": {}", problem.path));
    }
    text.push_str(&format!("\n  {}", problem.message));
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("\n  {hint}"));
    }
    text
}

fn show(context: &Context, origin: bool) -> Result<(), Failure> {
    let config = context.loader()?.load().map_err(|error| {
        let problems = error.problems().iter().map(ToString::to_string);
        Failure::usage("the configuration cannot be used")
            .details(problems)
            .fix("mcp-pool config check")
    })?;
    if context.json {
        return context.output.json(&document(&config, origin));
    }
    let output = context.output;
    for entry in config.servers.values() {
        output.line(format!("{} ({})", entry.name(), entry.source()))?;
        for (field, value) in transport(entry) {
            output.line(format!("  {field}: {value}"))?;
        }
        settings(context, &entry.settings_with_origin(), origin)?;
    }
    for (table, rows) in tables(&config) {
        if origin || rows.iter().any(is_set) {
            output.line(table)?;
            settings(context, rows, origin)?;
        }
    }
    if config.servers.is_empty() {
        output.line("No servers yet. Begin with: mcp-pool import")?;
    }
    Ok(())
}

fn settings(context: &Context, rows: &[SettingOrigin], all: bool) -> Result<(), Failure> {
    for row in rows.iter().filter(|row| all || is_set(row)) {
        let value = shown(&row.value);
        match &row.origin {
            Origin::Default => context
                .output
                .line(format!("  {} = {value}", row.setting))?,
            origin => context
                .output
                .line(format!("  {} = {value}\n      {origin}", row.setting))?,
        }
    }
    Ok(())
}

fn is_set(row: &SettingOrigin) -> bool {
    !matches!(row.origin, Origin::Default | Origin::Follows(_))
}

fn tables(config: &Loaded) -> [(&'static str, &Vec<SettingOrigin>); 3] {
    [
        ("limits", &config.limits_with_origin),
        ("aggregator", &config.aggregator_with_origin),
        ("gateway", &config.gateway_with_origin),
    ]
}

/// The fields of the transport, redacted as everywhere; of a server that is left out, why it is.
fn transport(entry: &Entry) -> Vec<(String, String)> {
    let transport = match entry.server() {
        Ok(server) => json!(server.transport()),
        Err(disabled) => return vec![("left out".to_owned(), disabled.to_string())],
    };
    let fields = ["command", "args", "env", "cwd", "url", "headers"];
    let fields = fields.into_iter().filter_map(|name| {
        let value = transport.get(name).filter(|value| {
            let text = value.to_string();
            !matches!(text.as_str(), "null" | "[]" | "{}")
        })?;
        Some((name.to_owned(), shown(value)))
    });
    fields.collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(" "),
        value => value.to_string(),
    }
}

fn document(config: &Loaded, origin: bool) -> Value {
    let rows = |rows: &[SettingOrigin]| -> Value {
        rows.iter()
            .filter(|row| origin || is_set(row))
            .map(|row| json!(row))
            .collect()
    };
    let servers = config.servers.values().map(|entry| {
        let (transport, disabled) = match entry.server() {
            Ok(server) => (json!(server.transport()), Value::Null),
            Err(disabled) => (Value::Null, disabled.to_string().into()),
        };
        json!({
            "name": entry.name(),
            "source": entry.source(),
            "transport": transport,
            "disabled": disabled,
            "settings": rows(&entry.settings_with_origin()),
        })
    });
    let mut document = json!({ "files": config.files, "servers": servers.collect::<Vec<_>>() });
    for (table, of_table) in tables(config) {
        document[table] = rows(of_table);
    }
    document
}
