//! `bench`: what the pool saves.

use serde_json::json;

use crate::{
    documents::document,
    home::{Home, test_server},
};

#[test]
fn calls_are_measured_three_ways() {
    let home = Home::new();
    home.servers(json!({ "kit": test_server(&[]) }));
    let bench = [
        "bench",
        "kit",
        "echo",
        "message=x",
        "--time",
        "300ms",
        "--callers",
        "8",
    ];
    let measured = document(&home, &bench, 0);
    assert_eq!(measured["operation"], "tool `echo`");
    let rows = measured["rows"].as_array().unwrap();
    let opened = |row: usize| rows[row]["opened"].as_u64().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(opened(0), rows[0]["calls"].as_u64().unwrap());
    assert_eq!(opened(1), 1);
    assert!(measured["faster"].as_f64().unwrap() > 1.0, "{measured}");

    let output = home.command(&bench).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(
        out.lines()
            .all(|line| line.chars().count() <= 80 || line.starts_with("A call"))
    );
    assert!(out.contains("pooled, 8 callers"), "{out}");
}

#[test]
fn a_tool_is_called_only_if_it_is_named() {
    let home = Home::new();
    let counted = home.path().join("counted");
    let entry = test_server(&["--count-file", counted.to_str().unwrap()]);
    home.servers(json!({ "kit": entry }));
    let time = ["--time", "30ms", "--callers", "2"];
    let measured = document(&home, &[&["bench", "kit"], &time[..]].concat(), 0);
    assert_eq!(measured["operation"], "tools/list");
    assert!(!counted.exists(), "a tool was called");
    let named = [&["bench", "kit", "count"], &time[..]].concat();
    let output = home.command(&named).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("it is called because it is named"), "{err}");
    assert!(counted.exists());
    home.command(&["bench", "kit", "cuont"]).assert().code(1);
}
