//! `mcp-pool remove`: removes a server.

use clap::Args;
use serde_json::json;

use crate::{context::Context, failure::Failure, servers_file::ServersFile};

/// Removes a server.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The server.
    #[arg(value_name = "SERVER")]
    name: String,
}

impl Remove {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let mut file = ServersFile::open(context)?;
        file.known(&self.name)?;
        file.remove(&[&self.name])?;
        file.write()?;
        let shown = context.folders.shown(&file.path);
        match context.json {
            true => context
                .output
                .json(&json!({ "removed": self.name, "file": file.path })),
            false => context
                .output
                .line(format!("Removed {} from {shown}.", self.name)),
        }
    }
}
