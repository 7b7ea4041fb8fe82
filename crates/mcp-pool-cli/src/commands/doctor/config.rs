//! Section Config: files of servers and settings.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use mcp_config::{Config, Disabled, Entry, GatewayToken, Loader, Problem, ProblemKind};

use super::{
    catalog,
    finding::{Finding, Mend},
};
use crate::context::Context;

/// Loads the configuration and checks it. `None` if it cannot be used.
pub(super) fn check(
    context: &Context,
    server: Option<&str>,
    findings: &mut Vec<Finding>,
) -> Option<Config> {
    let own = context.folders.servers();
    let mut loader = Loader::new().process_environment();
    for file in context.files() {
        if file.exists() {
            loader = loader.file(file);
        } else if file != own {
            let found = catalog::BROKEN_FILE.found(format!("{}: no such file", file.display()));
            findings.push(found.fix("name another file by --config or MCP_CONFIG_PATH"));
        }
    }
    let config = match loader.load() {
        Ok(config) => config,
        Err(error) => {
            findings.extend(error.problems().iter().map(of_file));
            return None;
        }
    };
    if config.servers.is_empty() && findings.is_empty() {
        let found = catalog::NO_SERVERS.found("no server is configured");
        findings.push(found.fix("mcp-pool import, or mcp-pool add NAME -- COMMAND"));
    }
    let concerns = |problem: &Problem| server.is_none_or(|server| problem.path.contains(server));
    let notes = config.notes.iter().filter(|note| concerns(note));
    findings.extend(notes.map(of_note));
    for entry in config.servers.values() {
        if server.is_none_or(|server| server == entry.name()) {
            of_entry(entry, findings);
        }
    }
    modes(&config, findings);
    Some(config)
}

fn of_file(problem: &Problem) -> Finding {
    let found = catalog::BROKEN_FILE.found(text(problem));
    match &problem.hint {
        Some(hint) => found.fix(hint),
        None => found.fix(format!("edit {}", problem.source)),
    }
}

fn of_note(note: &Problem) -> Finding {
    let kind = match note.kind {
        ProblemKind::UnknownField => catalog::UNKNOWN_FIELD,
        _ => catalog::ODD_SETTING,
    };
    let found = kind.found(text(note));
    match &note.hint {
        Some(hint) => found.fix(hint),
        None => found.fix(format!("edit {}", note.source)),
    }
}

fn of_entry(entry: &Entry, findings: &mut Vec<Finding>) {
    if let Some(Disabled::Invalid(problems)) = entry.disabled() {
        findings.extend(problems.iter().map(|problem| of_problem(entry, problem)));
    }
    let Ok(server) = entry.server() else { return };
    for field in server.plain_secrets() {
        let message = format!("{field} holds a secret in plain text");
        let found = catalog::PLAIN_SECRET.found(message).of(entry.name());
        findings.push(found.cause(entry.source()).fix(format!(
            "write a reference such as ${{TOKEN}} in {field}, and set the variable"
        )));
    }
}

fn of_problem(entry: &Entry, problem: &Problem) -> Finding {
    let found = match &problem.kind {
        ProblemKind::UnsetVariable(variable) => catalog::UNSET_VARIABLE
            .found(format!("the variable {variable} is not set"))
            .cause(text(problem))
            .fix(format!("export {variable}=...")),
        _ => {
            let found = catalog::BROKEN_ENTRY.found(text(problem));
            let edit = || format!("edit {}", problem.source);
            found.fix(problem.hint.clone().unwrap_or_else(edit))
        }
    };
    found.of(entry.name())
}

/// The problem without its hint.
fn text(problem: &Problem) -> String {
    match problem.path.as_str() {
        "" => format!("{}: {}", problem.source, problem.message),
        path => format!("{}: {path}: {}", problem.source, problem.message),
    }
}

/// Files with secrets that other users can read.
fn modes(config: &Config, findings: &mut Vec<Finding>) {
    let tokens = config.gateway.tokens.values();
    let with_token = { tokens }.any(|token| matches!(token, GatewayToken::Text(_)));
    for file in config.files.iter().filter(|file| file.is_file()) {
        let name = file.to_string_lossy();
        let is_settings = file
            .file_stem()
            .is_some_and(|stem| stem.eq_ignore_ascii_case("mcp-pool"));
        let of_file = |entry: &&Entry| entry.source() == name;
        let with_secret = config.servers.values().filter(of_file).any(|entry| {
            entry
                .server()
                .is_ok_and(|server| !server.plain_secrets().is_empty())
        });
        if (with_secret || is_settings && with_token) && is_readable(file) {
            let message = format!("{name} holds secrets, and other users can read it");
            let found = catalog::READABLE_SECRETS.found(message);
            let fix = format!("chmod 600 {}, or mcp-pool doctor --fix", quoted(file));
            findings.push(found.fix(fix).mend(Mend::MakePrivate(file.clone())));
        }
    }
}

/// Whether users other than the owner may read it.
pub(super) fn is_readable(path: &Path) -> bool {
    let metadata = path.metadata();
    metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@:,".contains(c);
    match text.chars().all(plain) {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
