//! `mcp-pool schema`: prints the JSON Schema of the configuration.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Prints the JSON Schema of the files of servers and of settings.
#[derive(Debug, Args)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        context.output.json(&mcp_config::schema())
    }
}
