//! `mcp-pool search`: tools by words.

use clap::Args;

use crate::{context::Context, failure::Failure};

/// Searches tools by words.
#[derive(Debug, Args)]
pub(crate) struct Search {}

impl Search {
    pub(crate) fn run(self, _: &Context) -> Result<(), Failure> {
        Err(Failure::internal("not there yet"))
    }
}
