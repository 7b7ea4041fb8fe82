//! `mcp-pool stop`: stops the daemon.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Stops the daemon.
#[derive(Debug, Args)]
pub(crate) struct Stop {}

impl Stop {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
