//! `mcp-pool disable`: disables a server.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Disables a server.
#[derive(Debug, Args)]
pub(crate) struct Disable {}

impl Disable {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
