//! `mcp-pool bench`: what the pool saves.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Measures what the pool saves with a server.
#[derive(Debug, Args)]
pub(crate) struct Bench {}

impl Bench {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
