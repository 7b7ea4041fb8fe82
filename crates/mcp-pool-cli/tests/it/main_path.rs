//! The path of a new user, with the servers and the client of others.
//!
//! `POOL_TEST_EVERYTHING`, `POOL_TEST_TIME` and `POOL_TEST_PYTHON` name them. Where one is not set the test passes without
//! having looked, and says so; with `POOL_TEST_REAL_SERVERS=required` it fails instead.

use std::{fs, time::Instant};

use assert_cmd::Command;
use serde_json::{Value, json};

use crate::home::Home;

const FILE: &str = ".config/Claude/claude_desktop_config.json";

#[test]
fn a_new_user_imports_calls_installs_and_gets_every_byte_back() {
    let (Some(everything), Some(time), Some(python)) = (
        variable("POOL_TEST_EVERYTHING"),
        variable("POOL_TEST_TIME"),
        variable("POOL_TEST_PYTHON"),
    ) else {
        return;
    };
    let words: Vec<_> = everything.split(' ').collect();
    let text = format!(
        "{{\r\n\t\"mcpServers\": {{\r\n\t\t\"everything\": {},\r\n\t\t\"time\": {}\r\n\t}},\r\n\t\"scale\": 1.50\r\n}}",
        json!({"command": words[0], "args": &words[1..]}),
        json!({"command": time}),
    );
    let home = Home::new();
    let file = home.write(FILE, &text);
    let begin = Instant::now();

    home.command(&["import"]).assert().code(0);
    let listed = said(&home, &["list"]);
    assert!(
        listed.contains("everything") && listed.contains("get_current_time"),
        "{listed}"
    );
    let called = said(&home, &["call", "everything.echo", "message=hello"]);
    assert!(called.contains("hello"), "{called}");
    home.command(&["install", "--client", "claude-desktop"])
        .assert()
        .code(0);

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/configured.py");
    let client = Command::new(python)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .arg(script)
        .arg(&file)
        .assert()
        .success();
    let seen: Value = serde_json::from_slice(&client.get_output().stdout).expect("it prints JSON");
    assert_eq!(seen["name"], "mcp-pool");
    assert!(
        seen["echo"]
            .as_str()
            .is_some_and(|echo| echo.contains("hello")),
        "{seen}"
    );
    let tools = seen["tools"].to_string();
    assert!(tools.contains("time__get_current_time"), "{tools}");
    // The client and the command line have one daemon.
    home.command(&["status"]).assert().code(0);

    home.command(&["uninstall"]).assert().code(0);
    assert_eq!(fs::read_to_string(&file).expect("the file is there"), text);
    println!("main path: {:?}", begin.elapsed());
    home.command(&["stop"]).assert().code(0);
}

fn said(home: &Home, arguments: &[&str]) -> String {
    let output = home.command(arguments).assert().code(0);
    String::from_utf8_lossy(&output.get_output().stdout).into_owned()
}

fn variable(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) => Some(value),
        Err(_)
            if std::env::var("POOL_TEST_REAL_SERVERS").is_ok_and(|value| value == "required") =>
        {
            panic!("{name} is not set")
        }
        Err(_) => {
            eprintln!("{name} is not set: not looked");
            None
        }
    }
}
