//! `mcp-pool approve`: approves tools that changed.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Approves tools that changed.
#[derive(Debug, Args)]
pub(crate) struct Approve {}

impl Approve {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
