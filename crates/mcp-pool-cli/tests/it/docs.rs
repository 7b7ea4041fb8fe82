//! Every console block of the documentation that begins with `$ mcp-pool` does what it shows.
//!
//! trycmd runs the blocks of a document one after the other, in a home folder where one server is configured, `demo`, the
//! test server. Other console blocks are of other programs and are left out, as is a block that is marked
//! `console,ignore`. `...` stands for any lines, `[..]` for any text in a line.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::home::{Home, test_server};

#[test]
fn console_blocks_of_the_documentation_do_what_they_show() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = vec![
        root.join("README.md"),
        root.join("crates/mcp-pool-cli/README.md"),
    ];
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|end| end == "md");
    documents.extend(docs.map(|file| file.unwrap().path()).filter(is_markdown));
    documents.sort();
    let mut run = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let blocks = blocks(&text);
        if blocks.is_empty() {
            continue;
        }
        run += blocks.len();
        let home = Home::new();
        home.servers(json!({ "demo": test_server(&[]) }));
        let name = document.file_name().unwrap();
        let case = home.write(Path::new("docs").join(name), blocks.join("\n"));
        let folder = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
        trycmd::TestCases::new()
            .register_bin("mcp-pool", Path::new(env!("CARGO_BIN_EXE_mcp-pool")))
            .env("HOME", folder(""))
            .env("XDG_CONFIG_HOME", folder(".config"))
            .env("XDG_STATE_HOME", folder(".local/state"))
            .env("XDG_RUNTIME_DIR", folder("run"))
            .env("COLUMNS", "80")
            .env("NO_COLOR", "1")
            .case(case)
            .run();
    }
    assert!(run > 0, "no document shows the command");
}

/// The blocks to run, each with its fences.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let is_ours = body
            .first()
            .is_some_and(|line| line.starts_with("$ mcp-pool"));
        if language == "console" && is_ours {
            blocks.push(format!("```console\n{}\n```\n", body.join("\n")));
        }
    }
    blocks
}
