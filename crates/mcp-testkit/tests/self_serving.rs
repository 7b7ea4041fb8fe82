//! A program that is its own test server, by one line at the head of its `main`.
//!
//! It has no test harness, because the harness would read the arguments meant for the server.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, ExitCode, Stdio},
};

fn main() -> ExitCode {
    if mcp_testkit::is_server_invocation() {
        return mcp_testkit::main();
    }
    // Test runners ask for the names of tests first; there are none.
    if !std::env::args().any(|argument| argument == "--list") {
        a_program_can_be_its_own_server();
    }
    ExitCode::SUCCESS
}

fn a_program_can_be_its_own_server() {
    let this = std::env::current_exe().expect("a running program has a path");
    let mut server = Command::new(this)
        .args(["--mcp-testkit-server", "--name", "myself"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a running program can be run again");
    let mut stdin = server.stdin.take().expect("stdin is piped");
    let stdout = server.stdout.take().expect("stdout is piped");
    stdin.write_all(INITIALIZE).expect("the server reads");
    let mut answer = String::new();
    BufReader::new(stdout)
        .read_line(&mut answer)
        .expect("the server answers");
    assert!(answer.contains("myself"), "{answer}");
    drop(stdin);
    assert!(server.wait().expect("the server ends").success());
}

const INITIALIZE: &[u8] = br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"self","version":"0"}}}
"#;
