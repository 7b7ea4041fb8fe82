//! The program that `mcp-pool connect` becomes.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_pool_cli::connect()
}
