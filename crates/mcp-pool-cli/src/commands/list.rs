//! `mcp-pool list`: servers and tools.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Lists servers and tools.
#[derive(Debug, Args)]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
