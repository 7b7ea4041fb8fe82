//! `mcp-pool uninstall`: gives a client its own file back.

use std::path::PathBuf;

use clap::{Args, ValueEnum as _};
use mcp_config::Document;
use serde::Serialize;

use crate::{
    clients::Client,
    context::Context,
    failure::Failure,
    installation::{Installation, read, remove, take_us_out},
    safe_write::{self, EditLock},
};

/// Gives clients their own files back.
///
/// A file without edits since `install` is restored byte for byte.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// The client; all that were installed without it.
    #[arg(long, value_enum, value_name = "CLIENT")]
    client: Vec<Client>,
}

/// What was done for one client.
#[derive(Debug, Serialize)]
struct Uninstalled {
    client: Client,
    file: PathBuf,
    restored: Restored,
    /// Servers that were put back into a file that was edited since.
    put_back: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Restored {
    /// Byte for byte.
    Exact,
    /// It was edited since: our entry went, and its servers came back.
    Edited,
    /// There is no such file any more.
    Gone,
}

impl Uninstall {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let _lock = EditLock::take(&context.folders)?;
        let clients = match self.client.is_empty() {
            true => Client::value_variants(),
            false => &self.client,
        };
        let mut all = Vec::new();
        for client in clients {
            if let Some(uninstalled) = uninstall(context, *client)? {
                if !context.json {
                    show(context, &uninstalled)?;
                }
                all.push(uninstalled);
            } else if !self.client.is_empty() {
                let title = client.title();
                return Err(Failure::usage(format!("{title} does not use the daemon"))
                    .fix(format!("mcp-pool install --client {}", client.name())));
            }
        }
        match (context.json, all.is_empty()) {
            (true, _) => context.output.json(&all),
            (false, true) => context.output.line("No client uses the daemon."),
            (false, false) => Ok(()),
        }
    }
}

fn uninstall(context: &Context, client: Client) -> Result<Option<Uninstalled>, Failure> {
    let file = client.user_file(&context.folders);
    let Some(installation) = Installation::find(&context.folders, client)? else {
        // An entry that was written by hand.
        let Some(now) = read(&file.path)? else {
            return Ok(None);
        };
        let mut document = Document::parse(&file.path, now.as_str()).map_err(Failure::usage)?;
        take_us_out(&mut document, &file)?;
        if document.text() == now || now.trim().is_empty() {
            return Ok(None);
        }
        safe_write::replace(&file.path, document.text())?;
        return Ok(Some(Uninstalled {
            client,
            file: file.path,
            restored: Restored::Edited,
            put_back: Vec::new(),
        }));
    };
    let path = installation.path.clone();
    let Some(now) = read(&path)? else {
        // The copy beside it stays: it is all that is left.
        installation.forget_record(&context.folders)?;
        return Ok(Some(Uninstalled {
            client,
            file: path,
            restored: Restored::Gone,
            put_back: Vec::new(),
        }));
    };
    let undone = installation.undone(&file, &now)?;
    match &undone.text {
        Some(text) => safe_write::replace(&path, text)?,
        None => remove(&path)?,
    }
    installation.forget(&context.folders)?;
    Ok(Some(Uninstalled {
        client,
        file: path,
        restored: match undone.exact {
            true => Restored::Exact,
            false => Restored::Edited,
        },
        put_back: undone.put_back,
    }))
}

fn show(context: &Context, uninstalled: &Uninstalled) -> Result<(), Failure> {
    let output = context.output;
    let title = uninstalled.client.title();
    let file = context.folders.shown(&uninstalled.file);
    match uninstalled.restored {
        Restored::Exact => output.line(format!("{title}: {file} is as it was before."))?,
        Restored::Edited => {
            output.line(format!("{title}: {file} was edited since."))?;
            output.line("  The entry of mcp-pool is out of it, all else stays.")?;
            if !uninstalled.put_back.is_empty() {
                let names = uninstalled.put_back.join(", ");
                output.line(format!("  Back in it: {names}"))?;
            }
        }
        Restored::Gone => output.line(format!("{title}: {file} is not there any more."))?,
    }
    output.note(format!(
        "Restart {title}. Its servers stay known to mcp-pool."
    ));
    Ok(())
}
