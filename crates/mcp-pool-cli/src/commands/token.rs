//! `mcp-pool token`: bearer tokens of the gateway's clients.
//!
//! A token is shown once. The settings file holds its hash, in the table `gateway.tokens`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mcp_config::{Document, GatewayToken};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    context::Context,
    failure::Failure,
    safe_write::{self, EditLock},
};

/// Makes, lists and revokes tokens of clients.
#[derive(Debug, Args)]
pub(crate) struct Token {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Makes a token and shows it once.
    New {
        /// On whose behalf a client with this token comes.
        name: String,
        /// Writes its hash into the settings file, instead of saying what to write.
        #[arg(long)]
        write: bool,
    },
    /// Lists who has a token.
    List,
    /// Removes a token from the settings file.
    Revoke {
        /// Whose token it is.
        name: String,
    },
}

/// The document of `mcp-pool token new --json`.
#[derive(Debug, Serialize)]
struct New {
    name: String,
    token: String,
    sha256: String,
    /// The file that its hash was written to.
    file: Option<PathBuf>,
}

/// One of `mcp-pool token list --json`.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    /// What the configuration holds: the `hash`, the token itself as `text`, or where it is `read` from.
    kind: &'static str,
}

impl Token {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self.command {
            TokenCommand::New { name, write } => new(context, name, write),
            TokenCommand::List => list(context),
            TokenCommand::Revoke { name } => revoke(context, &name),
        }
    }
}

fn new(context: &Context, name: String, write: bool) -> Result<(), Failure> {
    if name.is_empty() || !name.bytes().all(is_of_name) {
        let message = format!("{} is no name of a token", name.escape_debug());
        return Err(Failure::usage(message).fix("use letters, digits, - and _"));
    }
    let config = context.loader()?.load().map_err(Failure::usage)?;
    if config.gateway.tokens.contains_key(&name) {
        let failure = Failure::usage(format!("{name} has a token already"));
        return Err(failure.fix(format!("mcp-pool token revoke {name}")));
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::internal(format!("no random numbers: {error}")))?;
    let token = format!("mcp_{}", hex(&random));
    let sha256 = hex(&Sha256::digest(&token));
    let file = write.then(|| settings_file(context));
    if let Some(file) = &file {
        let _lock = EditLock::take(&context.folders)?;
        let mut document = Document::open(file).map_err(Failure::usage)?;
        let path = ["gateway", "tokens", name.as_str()];
        let set = document.set(&path, &json!({ "sha256": sha256 }));
        set.map_err(Failure::usage)?;
        safe_write::replace(file, document.text())?;
    }
    if context.json {
        return context.output.json(&New {
            name,
            token,
            sha256,
            file,
        });
    }
    context.output.note(match &file {
        Some(file) => format!("Its hash is in {}. The token is shown once:", file.display()),
        None => format!(
            "Write this into {}, or use --write:\n\n[gateway.tokens]\n{name} = {{ sha256 = \"{sha256}\" }}\n\n\
             The token is shown once:",
            settings_file(context).display()
        ),
    });
    context.output.line(token)
}

fn list(context: &Context) -> Result<(), Failure> {
    let config = context.loader()?.load().map_err(Failure::usage)?;
    let tokens = config.gateway.tokens.iter();
    let tokens: Vec<_> = tokens
        .map(|(name, token)| Listed {
            name: name.clone(),
            kind: match token {
                GatewayToken::Sha256(_) => "hash",
                GatewayToken::Text(_) => "text",
                _ => "read",
            },
        })
        .collect();
    if context.json {
        return context.output.json(&json!({ "tokens": tokens }));
    }
    if tokens.is_empty() {
        context
            .output
            .note("no client has a token: mcp-pool token new NAME --write");
    }
    tokens.iter().try_for_each(|token| {
        context
            .output
            .line(format!("{}  {}", token.name, token.kind))
    })
}

fn revoke(context: &Context, name: &str) -> Result<(), Failure> {
    let path = ["gateway", "tokens", name];
    let _lock = EditLock::take(&context.folders)?;
    let candidates = context.settings_files().into_iter().chain(context.files());
    for file in candidates.filter(|file| file.is_file()) {
        let mut document = Document::open(&file).map_err(Failure::usage)?;
        if document.remove(&path).map_err(Failure::usage)?.is_none() {
            continue;
        }
        safe_write::replace(&file, document.text())?;
        if context.json {
            return context.output.json(&json!({ "name": name, "file": file }));
        }
        let file = file.display();
        return context
            .output
            .line(format!("{name} has no token any more: {file}"));
    }
    Err(Failure::usage(format!("{} has no token", name.escape_debug())).fix("mcp-pool token list"))
}

/// The settings file that is there, or the one to make.
fn settings_file(context: &Context) -> PathBuf {
    let [usual, others @ ..] = context.settings_files();
    let there = |file: &PathBuf| file.exists();
    match there(&usual) {
        true => usual,
        false => others.into_iter().find(there).unwrap_or(usual),
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_".contains(&byte)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
