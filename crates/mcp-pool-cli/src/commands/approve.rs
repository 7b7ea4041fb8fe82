//! `mcp-pool approve`: approves tools that changed.
//!
//! What is approved is exactly what was shown: a tool that changes again in between is not.

use std::path::PathBuf;

use clap::Args;
use mcp_gateway::{ApproveError, PinChange, PinsFile};
use serde::Serialize;

use crate::{context::Context, exit::Exit, failure::Failure};

/// Approves tools that changed.
///
/// Without a tool it shows the changes that wait, and approves nothing.
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The tool to approve, as SERVER.TOOL.
    #[arg(value_name = "SERVER.TOOL", conflicts_with = "all")]
    tool: Option<String>,

    /// Approves all changes that are shown.
    #[arg(long)]
    all: bool,

    /// Approves only this state of the tool: the hash of a change that was shown before.
    #[arg(long, value_name = "SHA256", requires = "tool")]
    sha256: Option<String>,
}

/// The document of `mcp-pool approve --json`.
#[derive(Debug, Serialize)]
struct Document {
    /// Changes that wait for approval.
    waiting: Vec<PinChange>,
    /// Changes that were approved now.
    approved: Vec<PinChange>,
}

impl Approve {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let path = path(context)?;
        let pins = PinsFile::new(&path);
        let changes = pins.changes().map_err(|error| {
            Failure::usage(format!("cannot read the pins {}: {error}", path.display()))
        })?;
        let (chosen, waiting): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|change| self.all || self.tool.as_deref() == Some(&name(change)));
        if let (Some(tool), []) = (&self.tool, &*chosen) {
            let failure = Failure::usage(format!("{tool} has no change that waits for approval"));
            return Err(failure.fix("mcp-pool approve shows the changes"));
        }
        let output = context.output;
        let mut approved = Vec::new();
        for change in chosen {
            if !context.json {
                output.line(shown(&change))?;
            }
            let sha256 = self.sha256.as_deref().unwrap_or(&change.new_sha256);
            let done = pins.approve(&change.server, &change.tool, sha256);
            approved.push(done.map_err(of_approval)?);
            if !context.json {
                output.line("  approved")?;
            }
        }
        if context.json {
            return output.json(&Document { waiting, approved });
        }
        if approved.is_empty() {
            if waiting.is_empty() {
                return output.line("No tool has changed.");
            }
            for change in &waiting {
                output.line(shown(change))?;
            }
            output.note("Approve one with: mcp-pool approve SERVER.TOOL; or all with --all");
        }
        Ok(())
    }
}

/// The pins file of the configuration, or the daemon's own.
fn path(context: &Context) -> Result<PathBuf, Failure> {
    let config = context.loader()?.load().map_err(Failure::usage)?;
    let own = || context.folders.pins();
    Ok(config.gateway.pins_file.unwrap_or_else(own))
}

fn of_approval(error: ApproveError) -> Failure {
    let exit = match error {
        ApproveError::ChangedAgain { .. } => Exit::Blocked,
        _ => Exit::Usage,
    };
    Failure::new(exit, error).fix("mcp-pool approve shows the changes")
}

fn name(change: &PinChange) -> String {
    format!("{}.{}", change.server, change.tool)
}

fn shown(change: &PinChange) -> String {
    let name = name(change).escape_debug().to_string();
    let mut shown = format!("{name}  {}", change.new_sha256);
    for difference in &change.differences {
        shown.push_str(&format!("\n  {difference}"));
    }
    shown
}
