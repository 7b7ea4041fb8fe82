//! `mcp-pool enable`: switches a server on.

use clap::Args;

use crate::{context::Context, failure::Failure, servers_file::switch};

/// Switches a server on.
#[derive(Debug, Args)]
pub(crate) struct Enable {
    /// The server.
    #[arg(value_name = "SERVER")]
    name: String,
}

impl Enable {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        switch(context, &self.name, true)
    }
}
