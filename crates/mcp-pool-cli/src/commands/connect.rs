//! `mcp-pool connect`: stdio to the daemon.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Connects a client that speaks stdio to the daemon.
#[derive(Debug, Args)]
pub(crate) struct Connect {}

impl Connect {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
