//! `mcp-pool add`: adds a server.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Adds a server.
#[derive(Debug, Args)]
pub(crate) struct Add {}

impl Add {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
