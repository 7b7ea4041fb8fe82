//! `mcp-pool completions`: completion scripts.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Prints the completion script of a shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {}

impl Completions {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
