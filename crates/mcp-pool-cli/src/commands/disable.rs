//! `mcp-pool disable`: switches a server off.

use clap::Args;

use crate::{context::Context, failure::Failure, servers_file::switch};

/// Switches a server off: it stays in the file.
#[derive(Debug, Args)]
pub(crate) struct Disable {
    /// The server.
    #[arg(value_name = "SERVER")]
    name: String,
}

impl Disable {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        switch(context, &self.name, false)
    }
}
