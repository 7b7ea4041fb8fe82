//! `mcp-pool schema`: the schema of the configuration.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Prints the JSON Schema of the configuration.
#[derive(Debug, Args)]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
