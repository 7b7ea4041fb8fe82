//! `mcp-pool top`: the daemon at work.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Shows the daemon at work.
#[derive(Debug, Args)]
pub(crate) struct Top {}

impl Top {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
