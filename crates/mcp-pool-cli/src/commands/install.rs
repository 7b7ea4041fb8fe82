//! `mcp-pool install`: points a client at mcp-pool.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Points a client at mcp-pool.
#[derive(Debug, Args)]
pub(crate) struct Install {}

impl Install {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
