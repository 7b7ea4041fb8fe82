//! `mcp-pool status`: the daemon and its servers.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Shows the daemon and its servers.
#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
