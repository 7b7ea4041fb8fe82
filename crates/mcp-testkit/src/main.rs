//! The test server as a program. See `--help`.

fn main() -> std::process::ExitCode {
    mcp_testkit::main()
}
