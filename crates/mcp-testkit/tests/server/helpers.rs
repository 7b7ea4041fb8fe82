//! The parts of the kit that are not a server.

use mcp_testkit::process::{self, Signal, signal};

use crate::support::{command, spawn};

#[tokio::test]
async fn the_binary_is_found_from_a_test() {
    assert_eq!(
        mcp_testkit::binary(),
        std::path::Path::new(env!("CARGO_BIN_EXE_mcp-testkit"))
    );
}

#[tokio::test]
async fn help_and_mistakes_go_where_they_belong() {
    let help = command("--help").output().await.unwrap();
    assert!(help.status.success());
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("--exit-after-calls")
    );

    let mistake = command("--no-such-option").output().await.unwrap();
    assert_eq!(mistake.status.code(), Some(2));
    assert!(
        String::from_utf8(mistake.stderr)
            .unwrap()
            .contains("--no-such-option")
    );
}

#[tokio::test]
async fn every_option_is_in_the_help() {
    let help = command("--help").output().await.unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let source = include_str!("../../src/options.rs");
    let parser = source.split("mod tests").next().unwrap();
    let flags = parser.split('"').filter(|part| part.starts_with("--"));
    for flag in
        flags.filter(|flag| !flag.contains(' ') && *flag != "--as-grandchild" && *flag != "--help")
    {
        assert!(
            help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
            "{flag}"
        );
    }
}

#[tokio::test]
async fn processes_are_found_by_their_marker() {
    let marker = format!("marker-{}", std::process::id());
    let (_child, pid) = spawn(&format!("--marker {marker}"));
    assert!(
        process::wait_until(crate::support::SOON, || process::by_marker(&marker)
            == [pid])
        .await
    );
    assert!(process::children_of(std::process::id()).contains(&pid));
    signal(pid, Signal::KILL).unwrap();
    assert!(process::wait_gone([pid], crate::support::SOON).await);
    assert_eq!(process::by_marker(&marker), [0_u32; 0]);
}

#[test]
fn open_descriptors_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    // Other tests open descriptors in the same process: many at once make the difference.
    let files: Vec<_> = (0..300)
        .map(|number| std::fs::File::create(folder.path().join(number.to_string())).unwrap())
        .collect();
    assert!(process::open_fds() > 300);
    drop(files);
}
