//! `mcp-pool config`: checks and shows the configuration.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Checks and shows the configuration.
#[derive(Debug, Args)]
pub(crate) struct Config {}

impl Config {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
