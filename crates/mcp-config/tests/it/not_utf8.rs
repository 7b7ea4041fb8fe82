//! A variable that is not UTF-8 is reported as such, not as missing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use mcp_config::Loader;

const HERE: &str = "MCP_CONFIG_TEST_NOT_UTF8";

#[test]
fn a_variable_that_is_not_utf8_is_told_as_such() {
    if std::env::var_os(HERE).is_some() {
        return with_strange_variables();
    }
    // An environment is that of a whole process: another one looks at it.
    let strange = OsStr::from_bytes(b"caf\xe9");
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "not_utf8::a_variable_that_is_not_utf8_is_told_as_such",
        ])
        .env_clear()
        .env(HERE, "1")
        .envs(["TOKEN", "FOREIGN", "MCP_POOL_MAX_WAITERS"].map(|name| (name, strange)))
        .envs(["MCP_SERVER_A_MAX_WAITERS", "MCP_SINGLE_CONNECTION"].map(|name| (name, strange)))
        .output()
        .unwrap();
    let reported = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && reported.contains("1 passed"),
        "{reported}"
    );
}

fn with_strange_variables() {
    let file = r#"{
        "a": {"command": "x", "args": ["${TOKEN}"]},
        "b": {"command": "x", "env": {"T": "${TOKEN:-none}"}}
    }"#;
    let loader = Loader::new().process_environment().text("f", file);
    let reported = loader.load().unwrap_err().to_string();
    let lines: Vec<_> = reported.lines().collect();
    let token = "variable TOKEN is not UTF-8, set it to a text";
    let setting = "its value is not UTF-8, set it to a text, or unset it";
    assert_eq!(
        lines,
        [
            format!("environment: MCP_POOL_MAX_WAITERS: {setting}"),
            format!("environment: MCP_SERVER_A_MAX_WAITERS: {setting}"),
            format!("environment: MCP_SINGLE_CONNECTION: {setting}"),
            format!("f: a.args[0]: {token}"),
            format!("f: b.env.T: {token}"),
        ]
    );

    // Given in its stead, a text will do.
    let config = loader
        .environment([("TOKEN", "t"), ("MCP_POOL_MAX_WAITERS", "1")])
        .environment([
            ("MCP_SERVER_A_MAX_WAITERS", ""),
            ("MCP_SINGLE_CONNECTION", ""),
        ])
        .load()
        .unwrap();
    config.check().unwrap();
}
