//! `mcp-pool audit`.

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::{documents::document, home::Home};

/// A line of this age, as the gateway writes it.
fn line(age: Duration, server: &str, tool: &str) -> String {
    let time = humantime::format_rfc3339_millis(SystemTime::now() - age);
    let line = json!({
        "time": time.to_string(), "event": "call", "principal": "token:ann", "server": server, "tool": tool,
        "outcome": "ok", "ms": 12, "bytes": 34,
    });
    format!("{line}\n")
}

fn home() -> Home {
    let home = Home::new();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let path = ".local/state/mcp-pool/audit.jsonl";
    home.write(format!("{path}.1"), line(hours(30), "time", "now"));
    let torn = line(hours(0), "time", "torn");
    let newest = line(hours(2), "files", "read") + &line(hours(0), "time", "now");
    home.write(path, newest + &torn[..20]);
    home
}

#[test]
fn the_audit_is_read_over_its_rotated_files_and_a_torn_line() {
    let home = home();
    let all = document(&home, &["audit"], 0);
    assert_eq!(all["lines"].as_array().unwrap().len(), 3);
    assert_eq!(all["unreadable"], 1);
    let lines = |arguments: &[&str]| {
        let document = document(&home, arguments, 0);
        let lines = document["lines"].as_array().unwrap().clone();
        lines
            .iter()
            .map(|line| {
                format!(
                    "{}.{}",
                    line["server"].as_str().unwrap(),
                    line["tool"].as_str().unwrap()
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&["audit", "--since", "1h"]), ["time.now"]);
    assert_eq!(
        lines(&["audit", "--since", "1d"]),
        ["files.read", "time.now"]
    );
    assert_eq!(lines(&["audit", "--server", "files"]), ["files.read"]);
    assert_eq!(lines(&["audit", "--last", "1"]), ["time.now"]);
}

#[test]
fn the_audit_is_read_by_people_too() {
    let output = home().command(&["audit"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("token:ann  files.read  ok  12 ms"), "{text}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("1 lines could not be read"), "{errors}");
}

#[test]
fn a_wrong_time_is_a_wrong_usage() {
    home()
        .command(&["audit", "--since", "soon"])
        .assert()
        .code(1);
}
