//! `--json`: one document on standard output, as the schema of the command says.
//!
//! The schemas are part of the documentation: `docs/cli/<command>.schema.json`, and `docs/cli/<command>-<part>.schema.json`
//! for the parts of a command, as in `mcp-pool config show`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::assert::OutputAssertExt as _;
use serde_json::Value;

use crate::home::Home;

/// Runs the command with `--json`, and returns its document once it is valid. The exit code has to be this one.
#[track_caller]
pub(crate) fn document(home: &Home, arguments: &[&str], code: i32) -> Value {
    // In front: behind a command it may be an argument of a server.
    let mut command = home.command(&[&["--json"], arguments].concat());
    let output = command.output().expect("the command starts");
    let stdout = String::from_utf8(output.stdout.clone()).expect("a document is UTF-8");
    output.assert().code(code);
    let document = serde_json::from_str(&stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: no JSON document: {error}\n{stdout}"));
    check(arguments, &document);
    document
}

/// Compares a document of a command with its schema.
#[track_caller]
pub(crate) fn check(arguments: &[&str], document: &Value) {
    let path = schema_of(arguments);
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let schema: Value = serde_json::from_str(&text).expect("a schema is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema is valid");
    let wrong: Vec<_> = validator
        .iter_errors(document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{arguments:?}: {wrong:#?}\n{document:#}");
}

/// The schema of the command's part if there is one, else that of the command.
fn schema_of(arguments: &[&str]) -> PathBuf {
    let named = |name: &str| folder().join(format!("{name}.schema.json"));
    let mut words = arguments.iter().filter(|word| !word.starts_with('-'));
    let command = words.next().copied().unwrap_or("overview");
    words
        .next()
        .map(|part| named(&format!("{command}-{part}")))
        .filter(|path| path.exists())
        .unwrap_or_else(|| named(command))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli")
}

/// Commands that print no document: they run until they are stopped.
const WITHOUT: &[&str] = &["connect", "help", "serve"];

#[test]
fn every_command_has_a_schema_of_its_document() {
    let home = Home::new();
    let output = home.command(&["--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // Further lines of a description are indented deeper.
        .filter_map(|line| {
            line.strip_prefix("  ")
                .filter(|line| !line.starts_with(' '))
        })
        .filter_map(|line| line.split_whitespace().next());
    let commands: Vec<_> = commands.collect();
    assert!(commands.contains(&"list"), "{help}");
    let names: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let has_schema = |command: &str| {
        names.iter().any(|name| {
            name.starts_with(&format!("{command}.")) || name.starts_with(&format!("{command}-"))
        })
    };
    for command in commands {
        assert!(
            has_schema(command) || WITHOUT.contains(&command),
            "`{command}` has no docs/cli/{command}.schema.json"
        );
    }
}

#[test]
fn every_schema_is_valid_and_says_what_it_is_of() {
    for file in fs::read_dir(folder()).unwrap() {
        let path = file.unwrap().path();
        if !path.to_string_lossy().ends_with(".schema.json") {
            continue;
        }
        let schema: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        jsonschema::draft202012::new(&schema)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(schema["title"].is_string(), "{}: no title", path.display());
    }
}
