//! `mcp-pool uninstall`: gives a client its file back.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Gives a client its file back as it was.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {}

impl Uninstall {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
