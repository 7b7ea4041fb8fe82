//! The program `mcp-pool`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mcp_pool_cli::main()
}
