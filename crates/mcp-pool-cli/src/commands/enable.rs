//! `mcp-pool enable`: enables a server.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Enables a server.
#[derive(Debug, Args)]
pub(crate) struct Enable {}

impl Enable {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
