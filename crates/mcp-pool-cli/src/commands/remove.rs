//! `mcp-pool remove`: removes a server.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Removes a server.
#[derive(Debug, Args)]
pub(crate) struct Remove {}

impl Remove {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
