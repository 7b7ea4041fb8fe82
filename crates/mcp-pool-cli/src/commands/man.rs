//! `mcp-pool man`: manual pages.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Prints or writes the manual pages.
#[derive(Debug, Args)]
pub(crate) struct Man {}

impl Man {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
