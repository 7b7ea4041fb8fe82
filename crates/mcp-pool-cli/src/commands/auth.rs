//! `mcp-pool auth`: logs in to a server.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Logs in to a server, or out.
#[derive(Debug, Args)]
pub(crate) struct Auth {}

impl Auth {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
