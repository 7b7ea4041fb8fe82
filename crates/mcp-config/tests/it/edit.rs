//! Editing a file changes one entry, and nothing else that its owner wrote.

use mcp_config::Document;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Files as people write them: name, text, and the table of servers in it.
const FILES: [(&str, &str, &[&str]); 5] = [
    (
        "claude_desktop_config.json",
        "{\n  \"theme\": \"dark\",\n  \"mcpServers\": {\n    \"files\": {\n      \"command\": \"npx\",\n      \"autoApprove\": [ \"read\" ]\n    }\n  },\n\n  \"scale\": 1.50\n}\n",
        &["mcpServers"],
    ),
    (
        "mcp.json",
        "{\n\t// VS Code\n\t\"inputs\": [],\n\t\"servers\": {\n\t\t/* the first */\n\t\t\"files\": { \"type\": \"stdio\", \"command\": \"npx\" }, // here\n\t\t\"web\": { \"url\": \"https://example.com\" },\n\t},\n}",
        &["servers"],
    ),
    (
        "config.toml",
        "# Codex\nmodel = \"o3\"   # the best\n\n[mcp_servers.files]\ncommand = 'npx'\nargs = [\n  \"-y\", # yes\n]\nstartup_timeout_sec = 2_0\n\n[mcp_servers.files.env]\nA = \"b\"\n\n[tui]\ntheme = \"x\"\n# the end\n",
        &["mcp_servers"],
    ),
    (
        "mcp.yaml",
        "# ours\nmcpServers:\n    # the first\n    files:\n        command: npx   # here\n        args: [-y]\n\n    web: {url: https://example.com}\n# the end\nother: |\n  text\n",
        &["mcpServers"],
    ),
    ("settings.json", "{}", &["context_servers"]),
];

#[test]
fn an_added_entry_that_is_removed_leaves_the_file_as_it_was() {
    for (name, text, table) in FILES {
        for text in spellings(text) {
            let mut document = Document::parse(name, text.as_str()).unwrap();
            let path = [table, &["new"]].concat();
            if document.get(table).is_none() {
                continue;
            }
            document
                .set(&path, &json!({"command": "x", "args": ["a", "b"]}))
                .unwrap();
            assert_ne!(document.text(), text, "{name}");
            document.remove(&path).unwrap();
            assert_eq!(document.text(), text, "{name}");
        }
    }
}

#[test]
fn what_the_edit_does_not_concern_stays_byte_for_byte() {
    for (name, text, table) in FILES {
        for text in spellings(text) {
            let mut document = Document::parse(name, text.as_str()).unwrap();
            let path = [table, &["new"]].concat();
            let entry = json!({"command": "x", "args": ["a"], "env": {"K": "ü"}});
            document.set(&path, &entry).unwrap();
            let edited = document.text().to_owned();
            assert_eq!(edited.starts_with('\u{feff}'), text.starts_with('\u{feff}'));
            if text.contains("\r\n") {
                assert_eq!(edited.matches('\n').count(), edited.matches("\r\n").count());
            }
            for line in text.lines() {
                // Of the line before the new one a comma may be new.
                let line = line.trim().trim_end_matches("{}");
                assert!(edited.contains(line), "{name}: {line}\n{edited}");
            }
            let again = Document::parse(name, edited).unwrap();
            assert_eq!(again.get(&path), Some(&entry), "{name}");
        }
    }
}

#[test]
fn a_field_of_an_entry_changes_beside_its_comments() {
    for (name, text, table) in &FILES[..4] {
        let mut document = Document::parse(name, *text).unwrap();
        let path = [table, &["files", "command"][..]].concat();
        document.set(&path, &json!("uvx")).unwrap();
        let expected = text
            .replacen("\"npx\"", "\"uvx\"", 1)
            .replacen("'npx'", "\"uvx\"", 1)
            .replacen(": npx ", ": \"uvx\" ", 1);
        if name.ends_with("yaml") {
            // A comment on the line of the value goes with it.
            assert!(document.text().contains("command: \"uvx\"\n        args"));
        } else {
            assert_eq!(document.text(), expected, "{name}");
        }
    }
}

#[test]
fn a_copied_entry_brings_its_comments() {
    for (name, text, table) in &FILES[..3] {
        let from = Document::parse(name, *text).unwrap();
        let path = [table, &["files"][..]].concat();
        let mut document = Document::parse(name, *text).unwrap();
        document.remove(&path).unwrap();
        document.copy(&path, &from).unwrap();
        assert_eq!(document.tree(), from.tree(), "{name}");
        if name.ends_with("toml") {
            assert!(document.text().contains("\"-y\", # yes\n"));
            assert!(document.text().contains("startup_timeout_sec = 2_0\n"));
        } else {
            let line = text.lines().find(|line| line.contains("autoApprove"));
            assert!(document.text().contains(line.unwrap_or_default()));
        }
    }
}

#[test]
fn a_name_given_twice_is_removed_twice() {
    let text = r#"{"mcpServers": {"a": {"command": "x"}, "b": {}, "a": {"command": "y"}}}"#;
    let mut document = Document::parse("f.json", text).unwrap();
    document.remove(&["mcpServers", "a"]).unwrap();
    assert_eq!(document.tree(), &json!({"mcpServers": {"b": {}}}));
}

#[test]
fn an_empty_file_takes_an_entry() {
    for (name, text) in [
        ("a.json", ""),
        ("a.toml", ""),
        ("a.yaml", "# nothing yet\n"),
    ] {
        let mut document = Document::parse(name, text).unwrap();
        document
            .set(&["mcpServers", "a.b"], &json!({"command": "x"}))
            .unwrap();
        let again = Document::parse(name, document.text()).unwrap();
        assert_eq!(
            again.tree(),
            &json!({"mcpServers": {"a.b": {"command": "x"}}})
        );
        assert!(document.text().starts_with(text));
    }
}

#[test]
fn a_file_that_does_not_parse_is_refused_with_its_place() {
    for (name, text) in [
        ("a.json", "{\n \"mcpServers\": {"),
        ("a.toml", "[mcp_servers\n"),
        ("a.yaml", "a: [\n"),
        ("b.json", "[1]"),
    ] {
        let problem = Document::parse(name, text).unwrap_err().to_string();
        assert!(problem.starts_with(name), "{problem}");
    }
}

/// The same text with other line endings, with a byte order mark, and with tabs for spaces where the format allows.
fn spellings(text: &str) -> Vec<String> {
    let crlf = text.replace('\n', "\r\n");
    let marked = format!("\u{feff}{text}");
    vec![text.to_owned(), format!("\u{feff}{crlf}"), crlf, marked]
}

fn space() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "",
        " ",
        "\n",
        "\n  ",
        "\r\n\t",
        "\n\n    ",
        " // note\n",
        "/* a, {b} */",
        "\r\n",
    ])
    .prop_map(str::to_owned)
}

/// A file with servers of these names, with anything between its tokens.
fn written() -> impl Strategy<Value = String> {
    let entry = (space(), space(), "[a-z]{1,6}");
    (
        prop::collection::vec(entry, 0..5),
        prop::collection::vec(space(), 8),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(entries, s, comma, mark)| {
            let count = entries.len();
            let entries = entries
                .into_iter()
                .enumerate()
                .map(|(index, (a, b, word))| {
                    let comma = if index + 1 < count || comma { "," } else { "" };
                    format!("{a}\"s{index}\"{b}:{a}{{\"command\":{b}\"{word}\"{b}}}{a}{comma}")
                });
            let entries: String = entries.collect();
            format!(
                "{}{}{{{}\"mcpServers\"{}:{}{{{entries}{}}}{},{}\"x\": 1{}}}\n",
                if mark { "\u{feff}" } else { "" },
                s[0],
                s[1],
                s[2],
                s[3],
                s[4],
                s[5],
                s[6],
                s[7],
            )
        })
}

proptest! {
    #[test]
    fn every_edit_of_any_formatting_is_made_and_keeps_all_comments(text in written(), which in 0_usize..5) {
        let mut document = Document::parse("f.json", text.as_str()).unwrap();
        let before = document.tree().clone();
        let name = format!("s{which}");
        let removed = document.remove(&["mcpServers", &name]).unwrap();
        document.set(&["mcpServers", "ours"], &json!({"command": "c", "args": ["d"]})).unwrap();
        let mut expected = before;
        if let Some(table) = expected["mcpServers"].as_object_mut() {
            prop_assert_eq!(table.remove(&name), removed);
            table.insert("ours".to_owned(), json!({"command": "c", "args": ["d"]}));
        }
        let found = Document::parse("f.json", document.text()).unwrap();
        let found: &Value = found.tree();
        prop_assert_eq!(found, &expected);
    }
}
