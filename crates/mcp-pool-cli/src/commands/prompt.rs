//! `mcp-pool prompt`: gets a prompt.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Gets a prompt.
#[derive(Debug, Args)]
pub(crate) struct Prompt {}

impl Prompt {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
