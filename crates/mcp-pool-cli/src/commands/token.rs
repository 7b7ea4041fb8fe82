//! `mcp-pool token`: bearer tokens of the gateway's clients.
//!
//! A token is shown once. The settings file holds its hash, in the table `gateway.tokens`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mcp_config::{Document, GatewayConfig, GatewayToken};
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
    /// Removes a token from every file that holds it.
    Revoke {
        /// Whose token it is.
        name: String,
        /// Also the last one: no client needs a token from then on.
        #[arg(long)]
        force: bool,
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
            TokenCommand::Revoke { name, force } => revoke(context, &name, force),
        }
    }
}

fn new(context: &Context, name: String, write: bool) -> Result<(), Failure> {
    if name.is_empty() || !name.bytes().all(is_of_name) {
        let message = format!("{} is no name of a token", name.escape_debug());
        return Err(Failure::usage(message).fix("use letters, digits, - and _"));
    }
    let _lock = match write {
        true => Some(EditLock::take(&context.folders)?),
        false => None,
    };
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

fn revoke(context: &Context, name: &str, force: bool) -> Result<(), Failure> {
    let _lock = EditLock::take(&context.folders)?;
    let config = context.loader()?.load().map_err(Failure::usage)?;
    // A table of tokens is joined over all files.
    let mut changed = Vec::new();
    for file in config.files.iter().filter(|file| file.is_file()) {
        let mut document = Document::open(file).map_err(Failure::usage)?;
        let removed = document.remove(&["gateway", "tokens", name]);
        if removed.map_err(Failure::usage)?.is_some() {
            safe_write::check(file)?;
            changed.push((file, document));
        }
    }
    if changed.is_empty() {
        let failure = Failure::usage(format!("{} has no token", name.escape_debug()));
        return Err(failure.fix("mcp-pool token list"));
    }
    let mut rest = config.gateway.clone();
    rest.tokens.remove(name);
    check_rest(name, &rest, force)?;
    for (file, document) in &changed {
        safe_write::replace(file, document.text())?;
    }
    if !rest.authenticates() {
        context.output.note(
            "No client needs a token from now on: every program that reaches the gateway may use it.",
        );
    }
    let files: Vec<_> = changed.iter().map(|(file, _)| file).collect();
    if context.json {
        let document = json!({ "name": name, "files": files });
        return context.output.json(&document);
    }
    files.iter().try_for_each(|file| {
        let file = file.display();
        let output = context.output;
        output.line(format!("{name} has no token any more: {file}"))
    })
}

/// Whether the gateway may go on without the token of `name`. A gateway that runs would keep to its tokens if it could not use
/// the configuration.
fn check_rest(name: &str, rest: &GatewayConfig, force: bool) -> Result<(), Failure> {
    let fix = "mcp-pool token new NAME --write makes another one";
    if let Err(error) = rest.validate() {
        let problems = error.problems().iter().map(ToString::to_string);
        let failure = Failure::usage(format!(
            "the gateway cannot go on without the token of {name}"
        ));
        return Err(failure.details(problems).fix(fix));
    }
    if rest.authenticates() || force {
        return Ok(());
    }
    let message = format!(
        "{name} has the last token: without it every program that reaches the gateway may use it, as `local`"
    );
    Err(Failure::usage(message).fix(format!("{fix}; --force revokes it all the same")))
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
