//! `mcp-pool doctor`: what is wrong and how to mend it.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Finds what is wrong and says how to mend it.
#[derive(Debug, Args)]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
