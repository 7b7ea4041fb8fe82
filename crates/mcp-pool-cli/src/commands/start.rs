//! `mcp-pool start`: starts the daemon.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Starts the daemon.
#[derive(Debug, Args)]
pub(crate) struct Start {}

impl Start {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
