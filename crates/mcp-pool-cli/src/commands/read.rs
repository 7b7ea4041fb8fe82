//! `mcp-pool read`: reads a resource.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Reads a resource.
#[derive(Debug, Args)]
pub(crate) struct Read {}

impl Read {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
