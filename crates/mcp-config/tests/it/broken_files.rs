//! Unreadable or broken files give one clear error.

use crate::{loader, unprivileged};
#[cfg(unix)]
use std::fs;
use std::path::Path;

fn error(path: &Path) -> String {
    let error = loader().file(path).load().unwrap_err().to_string();
    let prefix = format!("{}: ", path.display());
    error
        .strip_prefix(&prefix)
        .unwrap_or_else(|| panic!("{error}"))
        .to_owned()
}

fn error_of(content: impl AsRef<[u8]>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".mcp.json");
    fs::write(&path, content).unwrap();
    error(&path)
}

#[test]
fn a_missing_file_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        error(&folder.path().join(".mcp.json")),
        "there is no such file, create it, or name another one"
    );
}

#[test]
fn a_folder_is_not_a_file() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        error(folder.path()),
        "is a folder, name the file in it, such as .mcp.json"
    );
}

#[test]
fn an_empty_file_is_an_error_and_not_an_empty_configuration() {
    assert!(error_of("").starts_with("the file is empty"));
    assert!(error_of(" \n\t").starts_with("the file is empty"));
    assert!(error_of("\u{feff}").starts_with("the file is empty"));
}

#[test]
fn a_half_written_file_is_told_by_line_and_column() {
    let whole = r#"{"mcpServers": {"a": {"command": "x", "args": ["é", "b"]}}}"#;
    assert!(loader().text("f", whole).load().is_ok());
    for end in (1..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let reported = error_of(&whole[..end]);
        assert!(reported.starts_with("line 1, column "), "{end}: {reported}");
    }
}

#[test]
fn binary_and_foreign_encodings_are_told_apart() {
    assert!(error_of([0x7f, b'E', b'L', b'F', 0, 0]).starts_with("is not a text file"));
    assert!(error_of([b'{', b'\n', 0xe9, b'}']).starts_with("line 2 is not UTF-8"));
    assert!(error_of([0xff, 0xfe, b'{', 0]).starts_with("is written in UTF-16"));
}

#[test]
fn fifty_megabytes_are_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".mcp.json");
    fs::File::create(&path).unwrap().set_len(50 << 20).unwrap();
    assert_eq!(
        error(&path),
        "is larger than 8 MiB, is it a configuration file?"
    );
}

#[cfg(unix)]
#[test]
fn a_symlink_that_loops_and_a_device_are_errors_and_do_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    std::os::unix::fs::symlink(&a, &b).unwrap();
    std::os::unix::fs::symlink(&b, &a).unwrap();
    assert!(error(&a).starts_with("cannot be read: "));
    assert!(error(Path::new("/dev/zero")).starts_with("is not a regular file"));
}

#[cfg(unix)]
#[test]
fn an_unreadable_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".mcp.json");
    fs::write(&path, "{}").unwrap();
    if unprivileged::make_unreadable(&path) {
        assert_eq!(
            error(&path),
            "the file may not be read, check its permissions"
        );
    } else {
        unprivileged::run(folder.path(), "broken_files::an_unreadable_file_says_so");
    }
}

#[test]
fn every_broken_file_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.json"), "{").unwrap();
    fs::write(
        folder.path().join("mcp-pool.toml"),
        "[defaults]\nmax_conections = 1\n[limit]\n",
    )
    .unwrap();
    let error = loader()
        .environment([("MCP_POOL_MAX_WAITERS", "many")])
        .file(folder.path().join("bad.json"))
        .file(folder.path().join("missing.json"))
        .load()
        .unwrap_err();
    let reported = error
        .to_string()
        .replace(&format!("{}/", folder.path().display()), "");
    for line in [
        "mcp-pool.toml: defaults.max_conections: unknown setting, did you mean max_connections?",
        "mcp-pool.toml: limit: unknown table, did you mean limits?",
        "environment: MCP_POOL_MAX_WAITERS: \"many\" is not allowed, expected a whole number of at least 1",
        "missing.json: there is no such file, create it, or name another one",
    ] {
        assert!(
            reported.lines().any(|found| found == line),
            "{line}\nnot in\n{reported}"
        );
    }
    assert_eq!(error.problems().len(), 5, "{reported}");
}
