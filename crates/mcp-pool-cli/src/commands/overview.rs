//! `mcp-pool` alone: one screen that says how things are and how to go on.

use crate::{context::Context, failure::Failure};

pub(crate) fn run(_: &Context) -> Result<(), Failure> {
    Err(Failure::internal("not there yet"))
}
