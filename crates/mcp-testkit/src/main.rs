//! The test server as a program; `--help` says what it can do.

fn main() -> std::process::ExitCode {
    mcp_testkit::main()
}
