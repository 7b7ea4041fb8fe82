//! `mcp-pool audit`: the audit of calls.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Shows the audit of calls.
#[derive(Debug, Args)]
pub(crate) struct Audit {}

impl Audit {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
