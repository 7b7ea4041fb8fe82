//! `mcp-pool top --once`.

use serde_json::json;

use crate::{
    documents::document,
    home::{Home, test_server},
};

#[test]
fn the_daemon_is_shown_once_without_a_terminal() {
    let home = Home::new();
    home.servers(json!({ "test": test_server(&[]) }));
    home.command(&["top", "--once"]).assert().code(4);
    home.command(&["start"]).assert().code(0);
    let shown = document(&home, &["top", "--once"], 0);
    let output = home.command(&["top", "--once"]).output().unwrap();
    home.command(&["stop"]).assert().code(0);
    assert_eq!(shown["pools"][0]["server"], "test");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("1 servers, 0 clients, "), "{text}");
    assert!(text.lines().nth(2).unwrap().starts_with(" test"), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
}
