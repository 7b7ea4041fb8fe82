//! `mcp-pool logs`: logs.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Shows the log of the daemon or of a server.
#[derive(Debug, Args)]
pub(crate) struct Logs {}

impl Logs {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
