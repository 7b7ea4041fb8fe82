//! `mcp-pool serve`: the gateway in the foreground.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Serves all servers at one address, in the foreground.
#[derive(Debug, Args)]
pub(crate) struct Serve {}

impl Serve {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
