//! `mcp-pool call`: calls a tool.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Calls a tool.
#[derive(Debug, Args)]
pub(crate) struct Call {}

impl Call {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
