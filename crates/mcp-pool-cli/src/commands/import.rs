//! `mcp-pool import`: servers of the clients.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Takes over the servers of this machine's clients.
#[derive(Debug, Args)]
pub(crate) struct Import {}

impl Import {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
