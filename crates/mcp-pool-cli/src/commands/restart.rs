//! `mcp-pool restart`: new sessions of a server.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Closes the sessions of a server and opens new ones.
#[derive(Debug, Args)]
pub(crate) struct Restart {}

impl Restart {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
