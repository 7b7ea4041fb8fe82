//! `mcp-pool token`: tokens of clients.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Makes, lists and revokes tokens of clients.
#[derive(Debug, Args)]
pub(crate) struct Token {}

impl Token {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
