//! Taking the servers of clients over into a file of one's own.
//!
//! Nothing is lost: a server that is there already, under whatever name, is not added twice; one whose name is taken by
//! another server gets its client's name behind its own.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use crate::{
    clients::{Client, ClientFile, ClientServer, Scope, is_off},
    failure::Failure,
    servers_file::{ServersFile, plain_secrets, problems},
};

/// What became of one server.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Imported {
    /// Its name in the client's file.
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) scope: Scope,
    pub(crate) file: PathBuf,
    pub(crate) outcome: Outcome,
    /// Its name in our file.
    #[serde(rename = "as")]
    pub(crate) ours: Option<String>,
    /// What the user should know of it.
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It is new.
    Added,
    /// It is new, and its name was taken.
    Renamed,
    /// It was there already.
    Present,
    /// Only its client can start it.
    LeftOut,
}

/// Adds these servers, which are in a client's file.
pub(crate) fn take_over(
    into: &mut ServersFile,
    file: &ClientFile,
    servers: Vec<ClientServer>,
) -> Result<Vec<Imported>, Failure> {
    let servers = servers.into_iter();
    servers.map(|server| take_one(into, file, server)).collect()
}

fn take_one(
    into: &mut ServersFile,
    file: &ClientFile,
    server: ClientServer,
) -> Result<Imported, Failure> {
    let mut imported = Imported {
        name: server.name,
        client: file.client,
        scope: file.scope,
        file: file.path.clone(),
        outcome: Outcome::LeftOut,
        ours: None,
        notes: Vec::new(),
    };
    let entry = match server.entry {
        Ok(entry) => entry,
        Err(reason) => {
            imported.notes.push(reason.to_owned());
            return Ok(imported);
        }
    };
    let name = &imported.name;
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        imported
            .notes
            .push("its name cannot be a server's".to_owned());
        return Ok(imported);
    }
    if let Some(same) = into.same(&entry) {
        imported.outcome = Outcome::Present;
        imported.ours = Some(same.to_owned());
        if into.get(same).is_some_and(is_off) && !is_off(&entry) {
            imported
                .notes
                .push(format!("switched off here: mcp-pool enable {same}"));
        }
        return Ok(imported);
    }
    imported.notes = notes(name, &entry);
    let ours = free_name(into, name, file.client);
    imported.outcome = match ours == *name {
        true => Outcome::Added,
        false => Outcome::Renamed,
    };
    into.set(&[&ours], &entry)?;
    imported.ours = Some(ours);
    Ok(imported)
}

fn free_name(into: &ServersFile, name: &str, client: Client) -> String {
    let of_client = format!("{name}-{}", client.name());
    let numbered = (2..).map(|number| format!("{of_client}-{number}"));
    let mut names = [name.to_owned(), of_client.clone()]
        .into_iter()
        .chain(numbered);
    names
        .find(|name| into.get(name).is_none())
        .unwrap_or_else(|| name.to_owned())
}

fn notes(name: &str, entry: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    if is_off(entry) {
        notes.push("switched off".to_owned());
    } else {
        notes.extend(problems(name, entry));
    }
    for field in plain_secrets(name, entry) {
        notes.push(format!(
            "{field} is a secret in plain text; ${{VARIABLE}} keeps it out of the file"
        ));
    }
    notes
}
