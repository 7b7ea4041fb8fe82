//! `mcp-pool complete`: completes an argument.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Completes an argument of a prompt or a resource template.
#[derive(Debug, Args)]
pub(crate) struct Complete {}

impl Complete {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
