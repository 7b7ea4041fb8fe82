//! `list` and `search`: what there is.

use std::os::unix::fs::MetadataExt as _;

use insta::assert_snapshot;
use serde_json::json;

use crate::{
    documents::document,
    home::{Home, test_server},
};

#[test]
fn tools_are_listed_as_signatures_within_eighty_columns() {
    let home = Home::with_kit();
    let (out, err) = home.succeed(&["list"]);
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    assert!(!out.contains('\u{1b}') && !err.contains('\u{1b}'));
    assert_snapshot!(out);
    assert_eq!(err, "\nr only reads · w writes · d may destroy\n");
    let (quiet, err) = home.succeed(&["list", "-q"]);
    assert_eq!((quiet, err.as_str()), (out, ""));
}

#[test]
fn a_tool_is_shown_with_all_that_it_says() {
    let home = Home::with_kit();
    let (out, _) = home.succeed(&["list", "kit.sleep"]);
    assert_snapshot!(out, @r"
    kit.sleep(ms: integer, stubborn?: boolean)
      only reads

      Answers after `ms` milliseconds. It stops at once when cancelled, unless it is
      `stubborn`.

    Arguments:
      ms: integer, required
      stubborn: boolean

      mcp-pool call kit.sleep ms=...
    ");
    let (out, _) = home.succeed(&["list", "kit.add", "--schema"]);
    let schemas: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schemas["inputSchema"]["required"], json!(["a", "b"]));
    assert_eq!(schemas["outputSchema"]["required"], json!(["sum"]));
}

#[test]
fn a_refresh_of_one_server_leaves_the_lists_of_the_others() {
    let home = Home::new();
    home.servers(json!({ "one": test_server(&[]), "two": test_server(&[]) }));
    home.succeed(&["list"]);
    let files = || {
        let folder = std::fs::read_dir(home.path().join(".local/state/mcp-pool/catalogue"));
        let files = folder.unwrap().map(|file| {
            let (file, found) = file
                .map(|file| (file.file_name(), file.metadata().unwrap()))
                .unwrap();
            // The file system may give an inode again.
            (file, (found.ino(), found.modified().unwrap()))
        });
        files.collect::<std::collections::BTreeMap<_, _>>()
    };
    let before = files();
    home.succeed(&["list", "one", "--refresh"]);
    let after = files();
    assert!(before.keys().eq(after.keys()), "{before:?} {after:?}");
    let written = before
        .iter()
        .filter(|(name, found)| after[*name] != **found);
    let written: Vec<_> = written.map(|(name, _)| name.to_string_lossy()).collect();
    assert!(
        matches!(&*written, [name] if name.starts_with("one-")),
        "{written:?}"
    );
}

#[test]
fn prompts_and_resources_are_listed_too() {
    let home = Home::with_kit();
    assert_snapshot!(home.succeed( &["list", "--prompts"]).0, @r"
    kit.greeting(name)
        Greets a person.
    kit.review(language?)
        Asks for a code review.
    ");
    assert_snapshot!(home.succeed( &["list", "kit", "--resources"]).0, @r"
    testkit://readme
        A text.
    testkit://pixel
        Bytes.
    testkit://item/{number}
        Any item, by its number.
    ");
}

#[test]
fn a_document_holds_the_tools_as_their_servers_wrote_them() {
    let home = Home::with_kit();
    let listed = document(&home, &["list"], 0);
    let tools = listed["tools"].as_array().unwrap();
    let add = tools
        .iter()
        .find(|tool| tool["name"] == "kit__add")
        .unwrap();
    assert_eq!(add["outputSchema"]["properties"]["sum"]["type"], "number");
    assert_eq!(add["annotations"]["readOnlyHint"], true);
    let one = document(&home, &["list", "kit.add"], 0);
    assert_eq!(one["tools"], json!([add]));
    let prompts = document(&home, &["list", "--prompts"], 0);
    assert_eq!(prompts["prompts"][0]["name"], "kit__greeting");
    let resources = document(&home, &["list", "--resources"], 0);
    assert_eq!(resources["resources"].as_array().unwrap().len(), 2);
}

#[test]
fn a_server_that_cannot_be_listed_is_named_beside_the_others() {
    let home = Home::new();
    let dead = test_server(&["--exit", "3", "--stderr", "no license"]);
    home.servers(json!({ "dead": dead, "kit": test_server(&[]) }));
    let (out, err) = home.succeed(&["list"]);
    assert!(out.contains("kit (") && !out.contains("dead"), "{out}");
    assert!(err.contains("missing: server `dead`:"), "{err}");
    let listed = document(&home, &["list"], 0);
    assert_eq!(listed["missing"][0]["server"], "dead");

    let alone = home.command(&["list", "dead"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(4));
    let err = String::from_utf8(alone.stderr).unwrap();
    assert!(err.contains("no license"), "{err}");
    assert!(err.contains("Fix: mcp-pool doctor dead"), "{err}");
    document(&home, &["list", "dead"], 4);
}

#[test]
fn names_that_are_not_there_bring_the_nearest() {
    let home = Home::with_kit();
    for (name, expected) in [
        ("kti", "there is no server `kti`; did you mean `kit`?"),
        (
            "kit.ecoh",
            "there is no tool `kit.ecoh`; did you mean `kit.echo`?",
        ),
    ] {
        let output = home.command(&["list", name]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains(expected), "{err}");
    }
    let empty = Home::new();
    let output = empty.command(&["list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        err.contains("no servers are configured") && err.contains("Fix: "),
        "{err}"
    );
}

#[test]
fn a_known_list_is_shown_without_its_server_and_refreshed_on_demand() {
    let home = Home::new();
    let state = home.path().join("openings");
    let state = state.to_str().unwrap();
    // The second opening fails, and so shows that there was one.
    let entry = |fail: &str| test_server(&["--exit-first", fail, "--state-file", state]);
    home.servers(json!({ "kit": entry("0") }));
    home.succeed(&["list"]);
    std::fs::remove_file(state).ok();
    let (_, err) = home.succeed(&["list", "kit", "-v"]);
    assert!(err.contains("in this process"), "{err}");
    assert!(
        !std::path::Path::new(state).exists(),
        "the server was started"
    );
    home.succeed(&["list", "--refresh"]);
    assert!(
        std::path::Path::new(state).exists(),
        "the server was not asked"
    );
}

#[test]
fn a_search_finds_tools_by_what_they_do() {
    let home = Home::with_kit();
    let (out, _) = home.succeed(&["search", "structured", "numbers", "-n", "1"]);
    assert_snapshot!(out, @r"
    r kit.add(a: number, b: number) -> {sum: number}
        Adds two numbers and answers with structured content.
    ");
    let found = document(&home, &["search", "add numbers"], 0);
    assert_eq!(found["tools"][0]["name"], "kit__add");
    let (out, err) = home.succeed(&["search", "qwertz"]);
    assert_eq!(
        (out.as_str(), err.trim()),
        ("", "no tool has one of these words")
    );
}
